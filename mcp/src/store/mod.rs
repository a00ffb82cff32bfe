//! State that outlives a request and is shared by all instances: sessions, calls that wait for an
//! answer, stream logs and signals.
//!
//! Four small traits with two implementations: [`memory`] for one process, and [`redis`] for many.
//! Callers must not assume that a response arrives at the instance that sent the request.

mod bus;
mod call;
mod error;
mod event_id;
mod fanout;
pub mod memory;
mod questions;
pub mod redis;
mod sessions;
mod signal;
mod stream_log;

use std::sync::Arc;

pub use self::{
    bus::{Bus, CatalogDigest},
    call::{StoredCall, Writer},
    error::StoreError,
    event_id::{EventId, EventNumber, StreamKey},
    fanout::{Fanout, Received, Subscription},
    questions::{Answered, OpenQuestion, Questions},
    sessions::{
        DeletedSession, MAX_SESSIONS_PER_USER, MAX_SUBSCRIPTION_BYTES, MAX_SUBSCRIPTIONS,
        MAX_URI_BYTES, Session, Sessions,
    },
    signal::{Signal, Topic},
    stream_log::{MAX_EVENTS, MAX_STREAM_BYTES, Mark, Orphan, Page, STREAM_TTL, StreamLog},
};
pub use crate::id::{SessionId, StreamId};

/// Reports events that were appended to a stream log; see [`crate::COUNTED`].
fn count_appended(appended: usize) {
    tracing::debug!(target: crate::COUNTED, appended, "Appended events to a stream");
}

/// The stores that an engine uses. Cheap to clone.
#[derive(Clone)]
pub struct Stores {
    /// Legacy sessions.
    pub sessions: Arc<dyn Sessions>,
    /// Calls that wait for answers of the client.
    pub questions: Arc<dyn Questions>,
    /// Events of legacy streams.
    pub log: Arc<dyn StreamLog>,
    /// Signals between instances.
    pub bus: Arc<dyn Bus>,
}
