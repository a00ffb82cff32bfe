//! Where and how the events of a legacy stream are sent.

use bytes::Bytes;
use serde::{Deserialize, de::IgnoredAny};

use crate::{
    json, sse,
    store::{EventId, EventNumber},
};

/// On which socket the events of a stream are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    /// On this socket, or on one that resumes the stream with `Last-Event-ID`.
    Own,
    /// On this socket. If it is lost, the remaining events are sent on the standalone stream.
    MovesAway,
    /// On the socket of the standalone stream. Up to the event `answers_until` only responses are
    /// sent, since the client may have received the rest.
    MovedHere { answers_until: EventNumber },
}

impl Delivery {
    /// Encodes an event. `sends_retry`: whether the event must contain `retry`; cleared when it
    /// does. `None`: the event is not sent, or is one that the store has lost (an empty message).
    pub(super) fn encode(
        self,
        id: &EventId,
        message: &str,
        sends_retry: &mut bool,
    ) -> Option<Bytes> {
        if message.is_empty() {
            return None;
        }
        match self {
            Self::MovedHere { answers_until } => {
                let is_sent = id.number > answers_until || is_response(message);
                is_sent.then(|| sse::event(None, message))
            }
            Self::Own | Self::MovesAway if std::mem::take(sends_retry) => {
                Some(sse::first_event(id, message))
            }
            Self::Own | Self::MovesAway => Some(sse::event(Some(id), message)),
        }
    }
}

/// Whether a message is a response to a request of the client.
fn is_response(message: &str) -> bool {
    #[derive(Deserialize)]
    struct Message {
        method: Option<IgnoredAny>,
    }
    json::from_str(message).is_ok_and(|Message { method }| method.is_none())
}
