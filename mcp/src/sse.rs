//! Encoding of server-sent events.

use std::time::Duration;

use bytes::Bytes;

use crate::store::EventId;

/// The interval of keep-alive comments on an idle stream: proxies close idle connections.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The `retry` value: when a client reconnects after its stream was closed, in milliseconds.
pub(crate) const RETRY_MS: u32 = 500;

/// Encodes a JSON-RPC message. `message` must not contain line breaks.
pub(crate) fn event(id: Option<&EventId>, message: &str) -> Bytes {
    match id {
        Some(id) => format!("id: {id}\ndata: {message}\n\n").into(),
        None => format!("data: {message}\n\n").into(),
    }
}

/// Encodes the first message of a stream without [`priming`], with `retry`.
pub(crate) fn first_event(id: &EventId, message: &str) -> Bytes {
    format!("id: {id}\nretry: {RETRY_MS}\ndata: {message}\n\n").into()
}

/// Encodes an event with an id and empty data, so that the client can resume before the first
/// message (2025-11-25).
pub(crate) fn priming(id: &EventId) -> Bytes {
    format!("id: {id}\nretry: {RETRY_MS}\ndata: \n\n").into()
}

/// Encodes `retry` alone, sent before a stream that has not ended is closed.
pub(crate) fn retry() -> Bytes {
    format!("retry: {RETRY_MS}\n\n").into()
}

/// Encodes a comment, which keeps the connection open and makes proxies flush their buffers. It is
/// not followed by an empty line, which would end an event: after an id, the parser of the Python
/// SDK (httpx-sse) would then report an event with empty data.
pub(crate) fn comment() -> Bytes {
    Bytes::from_static(b": keep-alive\n")
}
