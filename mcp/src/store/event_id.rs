//! Identifiers of streams and their events.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::{SessionId, StreamId};

/// The position of an event in its stream, from 1. 0 is the position before the first event.
pub type EventNumber = u64;

/// An SSE event id: a stream and a position in it. Unique within the session, since stream ids are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventId {
    /// The stream.
    pub stream: StreamId,
    /// The position of the event.
    pub number: EventNumber,
}

impl EventId {
    /// Parses a `Last-Event-ID` header.
    pub fn parse(text: &str) -> Option<Self> {
        let (stream, number) = text.rsplit_once('.')?;
        let stream = StreamId::parse(stream)?;
        // Exactly one spelling per id: no sign, no leading zero.
        let number: EventNumber =
            number.parse().ok().filter(|parsed: &u64| parsed.to_string() == number)?;
        Some(Self { stream, number })
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.stream.as_str(), self.number)
    }
}

/// A stream of a session. The session is part of the key, so an event id cannot address a stream of
/// another session.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StreamKey {
    /// The session.
    pub session: SessionId,
    /// The stream.
    pub stream: StreamId,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_event_id_round_trips(number: u64, standalone: bool) {
            let stream =
                if standalone { StreamId::standalone() } else { StreamId::random() };
            let id = EventId { stream, number };
            prop_assert_eq!(EventId::parse(&id.to_string()), Some(id));
        }

        #[test]
        fn a_parsed_event_id_displays_as_the_same_text(text: String) {
            if let Some(id) = EventId::parse(&text) {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }
}
