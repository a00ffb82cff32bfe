//! The log of the events of legacy streams.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use super::{EventNumber, StoreError, StoredCall, StreamKey, Writer};
use crate::{
    id::{JobId, SessionId, StreamId},
    rpc::RequestId,
};

/// A page of events of a stream.
#[derive(Debug, Default)]
pub struct Page {
    /// The events in order; each is a complete JSON-RPC message. Empty: the store has lost this event
    /// of a standalone stream, because it cannot be decrypted.
    pub events: Vec<(EventNumber, Arc<str>)>,
    /// The position of the last event of the stream (not of the page).
    pub last: EventNumber,
    /// Whether the stream has ended and this page contains its last events.
    pub ended: bool,
    /// Time until the first lease of a writer lapses; zero if one has lapsed. `None`: the stream
    /// has no writer, because it has ended or is the standalone one.
    pub lapses: Option<Duration>,
    /// The unanswered requests that are answered by jobs.
    pub jobs: Vec<(Writer, JobId)>,
}

/// A call whose lease has lapsed, as returned to the caller that took it over.
#[derive(Debug)]
pub struct Orphan {
    /// The writer of the next run.
    pub writer: Writer,
    /// How many times the call has been lost, including this time.
    pub lost: u64,
    /// The call to run again. `None`: the call must not be run again, or cannot be decrypted.
    pub call: Option<StoredCall>,
    /// Whether a run since the last answers may have started: its writer has renewed its lease.
    /// `false`: those answers have had no effect, so even a call that is not idempotent may be run.
    pub started: bool,
}

/// Deduplicates the messages of a job: a message is appended only if its mark exceeds the last one
/// of the same name.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark {
    /// The name, such as `progress`.
    pub name: String,
    /// A finite value that only increases.
    pub value: f64,
}

impl Mark {
    /// The mark of a message that is sent at most once per request.
    pub fn once(name: impl Into<String>) -> Self {
        Self { name: name.into(), value: 1.0 }
    }
}

/// The maximum number of events per stream; the oldest are dropped first. A client that resumes
/// later may miss progress messages, but never the response, which is the last event.
pub const MAX_EVENTS: usize = 1_000;

/// The maximum size of the events of a stream in bytes; the oldest are dropped first. The last
/// event is kept regardless of its size.
pub const MAX_STREAM_BYTES: usize = 1024 * 1024;

/// How long a stream can be resumed after its last event.
pub const STREAM_TTL: Duration = Duration::from_mins(15);

/// The events of legacy streams (2025-11-25, basic/transports, "Resumability and Redelivery").
///
/// Every implementation publishes [`Signal::StreamChanged`](super::Signal::StreamChanged) after
/// each change, so that a reader can subscribe first, then read, then wait.
#[async_trait]
pub trait StreamLog: Send + Sync {
    /// Creates the stream of a POST for the responses to these requests; it ends with the last
    /// response. A request with a [`StoredCall`] may be run again by another instance. `lease`: how
    /// long a writer may go without renewal before its calls can be taken over.
    async fn open(
        &self,
        key: &StreamKey,
        requests: &[(RequestId, Option<StoredCall>)],
        lease: Duration,
    ) -> Result<(), StoreError>;
    /// Appends a message to the standalone stream of a session, creating the stream if necessary.
    async fn append(&self, session: &SessionId, message: &str) -> Result<(), StoreError>;
    /// Appends a message of a call. The messages of a run are numbered from 1; a number that was
    /// appended already is ignored, so a write whose outcome is unknown can be repeated. `false`:
    /// the request is answered, or the writer is no longer current.
    async fn write(&self, writer: &Writer, number: u64, message: &str) -> Result<bool, StoreError>;
    /// Appends the response, or removes the request without one. The first call for a request wins;
    /// later calls, and those of earlier runs, have no effect.
    async fn finish(&self, writer: &Writer, answer: Option<&str>) -> Result<(), StoreError>;
    /// Removes a running request of a session without a response, whichever run is current; the run
    /// notices at its next write. A request that a job answers is kept.
    async fn cancel(&self, session: &SessionId, request: &RequestId) -> Result<(), StoreError>;
    /// Renews the lease of a run, which thereby counts as started. `false`: the request is answered, or the writer is no longer
    /// current.
    async fn renew(&self, writer: &Writer, lease: Duration) -> Result<bool, StoreError>;
    /// Reads at most `max` events after a position. `Ok(None)`: the stream does not exist, has expired,
    /// or has an event that cannot be decrypted; a standalone stream always exists.
    async fn read(
        &self,
        key: &StreamKey,
        after: EventNumber,
        max: usize,
    ) -> Result<Option<Page>, StoreError>;
    /// Takes over the calls of a stream whose leases have lapsed, under a new lease. Each call is
    /// returned to exactly one of several concurrent callers.
    async fn take_over(&self, key: &StreamKey, lease: Duration) -> Result<Vec<Orphan>, StoreError>;
    /// Hands a request over to a job, which will answer it. No instance runs the request any more,
    /// so it can be taken over only after `lease` has lapsed. The worker of the job writes as the
    /// same writer. `false`: the request is answered, or the writer is no longer current.
    async fn hand_over(
        &self,
        writer: &Writer,
        job: &JobId,
        lease: Duration,
    ) -> Result<bool, StoreError>;
    /// Finds the job that answers a request of a session. `Ok(None)`: no job answers it.
    async fn job_of(
        &self,
        session: &SessionId,
        request: &RequestId,
    ) -> Result<Option<(Writer, JobId)>, StoreError>;
    /// Appends a message of a job. Several processes may write for it, so messages are not
    /// numbered: a message with a mark is appended only if the value exceeds all earlier ones of
    /// that name. `false`: the request is answered, or the writer is no longer current.
    async fn write_for_job(
        &self,
        writer: &Writer,
        mark: Option<&Mark>,
        message: &str,
    ) -> Result<bool, StoreError>;
    /// Deletes all streams of a session.
    async fn forget(&self, session: &SessionId) -> Result<(), StoreError>;
    /// Deletes a stream that was completely delivered.
    async fn forget_stream(&self, key: &StreamKey) -> Result<(), StoreError>;
    /// Lists the streams of a session except the standalone one. Some may have expired.
    async fn call_streams(&self, session: &SessionId) -> Result<Vec<StreamId>, StoreError>;
}
