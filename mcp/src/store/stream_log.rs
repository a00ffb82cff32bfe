//! The events of legacy streams.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use super::{EventNumber, StoreError, StoredCall, StreamKey, Writer};
use crate::{
    id::{JobId, SessionId, StreamId},
    rpc::RequestId,
};

/// Some events of a stream.
#[derive(Debug, Default)]
pub struct Page {
    /// Each a whole JSON-RPC message, in order.
    pub events: Vec<(EventNumber, Arc<str>)>,
    /// The position of the last event of the stream.
    pub last: EventNumber,
    /// Whether nothing follows after these.
    pub ended: bool,
    /// How long until the first of the writers counts as dead, if it stays silent: zero if it does
    /// already. Nothing if nobody writes: the stream has ended, or is the standalone one.
    pub lapses: Option<Duration>,
    /// The unanswered requests that jobs will answer.
    pub jobs: Vec<(Writer, JobId)>,
}

/// A call whose instance was lost, and which now belongs to whoever took it over.
#[derive(Debug)]
pub struct Orphan {
    /// The name of the next run.
    pub writer: Writer,
    /// How often the call has lost its instance, this time included.
    pub lost: u64,
    /// What to run, if it was said when the call began.
    pub call: Option<StoredCall>,
}

/// How far a request is in one respect.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark {
    /// The respect.
    pub name: String,
    /// Only ever grows. Finite.
    pub value: f64,
}

impl Mark {
    /// For a message that comes once in the life of a request.
    pub fn once(name: impl Into<String>) -> Self {
        Self { name: name.into(), value: 1.0 }
    }
}

/// Events kept per stream; the oldest go first. A client that was away for more of them than this
/// misses progress messages, never the answer, which is last.
pub const MAX_EVENTS: usize = 1_000;

/// Bytes of events kept per stream; the oldest go first, the last one stays however long it is.
pub const MAX_STREAM_BYTES: usize = 1024 * 1024;

/// How long an ended or silent stream can be resumed.
pub const STREAM_TTL: Duration = Duration::from_mins(15);

/// The events of legacy streams (2025-11-25, basic/transports, "Resumability and Redelivery").
///
/// Every implementation publishes [`Signal::StreamChanged`] after each change, so that a follower
/// can subscribe first, then read, then wait.
#[async_trait]
pub trait StreamLog: Send + Sync {
    /// Begins the stream of a POST that will hold the answers to these requests. It ends with the
    /// last of them. Each has what another instance needs to run it again, if that may happen.
    /// `lease`: how long a writer may be silent before it counts as dead.
    async fn open(
        &self,
        key: &StreamKey,
        requests: &[(RequestId, Option<StoredCall>)],
        lease: Duration,
    ) -> Result<(), StoreError>;
    /// Appends a message to the standalone stream of a session, which begins by itself.
    async fn append(&self, session: &SessionId, message: &str) -> Result<(), StoreError>;
    /// Appends a message of a call. Each message of a run has the next number, from 1 on: one that
    /// is there already is not appended again, so that a write whose outcome is unknown can be
    /// repeated. False if the call is answered or no longer the writer's.
    async fn write(&self, writer: &Writer, number: u64, message: &str) -> Result<bool, StoreError>;
    /// Appends the answer, or drops the request without one. The first call per request wins; later
    /// ones, and those of earlier runs, change nothing.
    async fn finish(&self, writer: &Writer, answer: Option<&str>) -> Result<(), StoreError>;
    /// Drops a running request of a session without an answer, whoever its writer is: it learns of it
    /// when it next writes. A request that a job answers stays.
    async fn cancel(&self, session: &SessionId, request: &RequestId) -> Result<(), StoreError>;
    /// Renews the lease of a run. False if the call is answered or no longer the writer's.
    async fn renew(&self, writer: &Writer, lease: Duration) -> Result<bool, StoreError>;
    /// At most `max` events after a position. Nothing if there is no such stream (any more); a
    /// standalone stream always exists.
    async fn read(
        &self,
        key: &StreamKey,
        after: EventNumber,
        max: usize,
    ) -> Result<Option<Page>, StoreError>;
    /// Takes over the calls of a stream whose leases have lapsed, under a new lease. Of many that
    /// try, one gets each.
    async fn take_over(&self, key: &StreamKey, lease: Duration) -> Result<Vec<Orphan>, StoreError>;
    /// From now on a job answers the request: it is run by no instance, so nobody takes it over
    /// before `lease` has lapsed. Whoever works for the job writes under the same name. False if
    /// the call is answered or no longer the writer's.
    async fn hand_over(
        &self,
        writer: &Writer,
        job: &JobId,
        lease: Duration,
    ) -> Result<bool, StoreError>;
    /// The job that answers a request of a session, if one does.
    async fn job_of(
        &self,
        session: &SessionId,
        request: &RequestId,
    ) -> Result<Option<(Writer, JobId)>, StoreError>;
    /// Appends a message of a job. Several processes may write for it, so there are no numbers: a
    /// marked message is appended if the value of its mark is more than any before. False if the
    /// call is answered or no longer the writer's.
    async fn write_for_job(
        &self,
        writer: &Writer,
        mark: Option<&Mark>,
        message: &str,
    ) -> Result<bool, StoreError>;
    /// Forgets every stream of a session.
    async fn forget(&self, session: &SessionId) -> Result<(), StoreError>;
    /// Forgets a stream that has ended, because its client has all of it.
    async fn forget_stream(&self, key: &StreamKey) -> Result<(), StoreError>;
    /// The streams of calls of a session. Some may have expired.
    async fn call_streams(&self, session: &SessionId) -> Result<Vec<StreamId>, StoreError>;
}
