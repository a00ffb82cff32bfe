//! Server-sent events on the wire.

use std::time::Duration;

use bytes::Bytes;

use crate::store::EventId;

/// How often a silent stream says something: proxies cut connections that are silent for longer.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// When a client whose stream was closed should come back, in milliseconds.
pub(crate) const RETRY_MS: u32 = 500;

/// One JSON-RPC message. `message` has no line breaks: it is JSON that we wrote.
pub(crate) fn event(id: Option<&EventId>, message: &str) -> Bytes {
    match id {
        Some(id) => format!("id: {id}\ndata: {message}\n\n").into(),
        None => format!("data: {message}\n\n").into(),
    }
}

/// The first message of a stream without [`priming`]: says too when to come back.
pub(crate) fn first_event(id: &EventId, message: &str) -> Bytes {
    format!("id: {id}\nretry: {RETRY_MS}\ndata: {message}\n\n").into()
}

/// An event that carries an id and nothing else, so that the client can resume before the first
/// message (2025-11-25).
pub(crate) fn priming(id: &EventId) -> Bytes {
    format!("id: {id}\nretry: {RETRY_MS}\ndata: \n\n").into()
}

/// Asks the client to come back soon: sent before we close a stream that has not ended.
pub(crate) fn retry() -> Bytes {
    format!("retry: {RETRY_MS}\n\n").into()
}

/// A comment: keeps the connection open and makes proxies send what they hold. One line without an
/// empty one after it: that would end an event, and the parser of the Python SDK (httpx-sse) then
/// gives one without data, once it has seen an id.
pub(crate) fn comment() -> Bytes {
    Bytes::from_static(b": keep-alive\n")
}
