//! The queue as a runner of jobs sees it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use async_trait::async_trait;
use mcp::{
    BoxError, Question,
    job::{Attempt, Job, JobId, JobOutcome, NewJob, Progress},
};
use serde_json::Value;

/// How often a lease is renewed within its length at least: one renewal may fail and another one be
/// late.
pub const RENEWALS_PER_LEASE: u32 = 3;

/// The longest time between two renewals, whatever the lease: a lease that was not renewed for
/// longer is the first sign that the worker has ended.
pub const RENEWAL_INTERVAL: Duration = Duration::from_secs(3);

/// The beginning of the name of a worker that subscribes to
/// [`Topic::Worker`](mcp::store::Topic::Worker) and renews its leases every [`RENEWAL_INTERVAL`]. The
/// names that earlier versions use begin with a digit; jobs of such workers are reclaimed only when
/// their leases expire.
pub const ANNOUNCED_PREFIX: &str = "w-";

/// The durable queue of jobs.
///
/// Every claim of a job has the next attempt number, a fencing token: a write that names an earlier
/// number changes nothing. Each operation is atomic.
#[async_trait]
pub trait WorkQueue: Send + Sync {
    /// Claims due jobs, each for one worker, until its lease expires.
    async fn claim(&self, turn: &mut Turn, claim: Claim<'_>) -> Result<Vec<Claimed>, QueueError>;
    /// Renews the leases of attempts. Returns the attempts that still own their job; the worker
    /// stops all others.
    async fn renew(
        &self,
        attempts: &[(JobId, u32)],
        lease: Duration,
    ) -> Result<BTreeSet<(JobId, u32)>, QueueError>;
    /// Finds workers, of those whose names begin with [`ANNOUNCED_PREFIX`], with running jobs whose
    /// leases of the length `lease` were not renewed for `silence`. A worker may be listed because
    /// of the difference between two clocks.
    async fn silent_workers(
        &self,
        lease: Duration,
        silence: Duration,
    ) -> Result<Vec<SilentWorker>, QueueError>;
    /// Requeues the jobs of a worker whose leases it has not renewed since it was found silent, or
    /// fails them if that was their last attempt. Returns the number of reclaimed jobs, which may
    /// include others whose leases had expired.
    async fn reclaim_from(&self, worker: &SilentWorker) -> Result<u64, QueueError>;
    /// Ends those of these jobs whose access was ended, and returns them.
    async fn end_denied(&self, jobs: Vec<JobId>) -> Result<Vec<JobId>, QueueError>;
    /// Stores the progress of attempts. Progress never decreases: a lower value is ignored.
    async fn record_progress(&self, attempts: &[(JobId, u32, Progress)]) -> Result<(), QueueError>;
    /// Stores the state from which a later attempt continues.
    async fn checkpoint(
        &self,
        job: &JobId,
        attempt: u32,
        state: &Value,
    ) -> Result<(), CheckpointError>;
    /// Writes the ends of attempts, and wakes workers if that queued a job. An end whose attempt is
    /// no longer the current one is not written.
    async fn finish(&self, ends: &[(Lease, End)]) -> Result<Finished, QueueError>;
    /// Returns jobs with a pending notification: those of `only`, or, for `None`, some that have
    /// been pending for longer than `silence`, because the responsible worker has died.
    async fn unnotified(
        &self,
        only: Option<&[JobId]>,
        silence: Duration,
    ) -> Result<Vec<Unnotified>, QueueError>;
    /// Records that a client was notified. Changes nothing if the job has moved on since.
    async fn mark_notified(&self, notified: &Unnotified) -> Result<(), QueueError>;
}

/// The error of a queue. Whether the operation took effect is unknown.
pub struct QueueError {
    dependency: Option<&'static str>,
    source: BoxError,
}

impl QueueError {
    /// Creates an error. `dependency`: the unavailable service. `None`: the same operation would
    /// fail again.
    pub fn new(dependency: Option<&'static str>, source: impl Into<BoxError>) -> Self {
        Self { dependency, source: source.into() }
    }

    /// The unavailable service, for the field `dependency` of log events.
    pub fn dependency(&self) -> Option<&'static str> {
        self.dependency
    }

    /// The cause, as it was passed to [`Self::new`].
    pub fn into_source(self) -> BoxError {
        self.source
    }

    /// Whether the same operation may succeed later.
    pub fn is_unavailable(&self) -> bool {
        self.dependency.is_some()
    }
}

impl fmt::Debug for QueueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.source, f)
    }
}

impl fmt::Display for QueueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.source, f)
    }
}

impl std::error::Error for QueueError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.source()
    }
}

/// Why a checkpoint was not stored. The attempt must not continue as if it had been stored.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// A later attempt has begun, or the job has ended.
    #[error("this attempt of the job is no longer current")]
    Superseded,
    /// It could not be stored.
    #[error(transparent)]
    Failed(#[from] QueueError),
}

/// The position in the round of owners: owners after this one come next, then the round starts
/// over.
#[derive(Clone, Debug, Default)]
pub struct Turn(pub String);

/// The parameters of a claim.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// The name of the worker.
    pub worker: &'a str,
    /// The maximum number of jobs.
    pub max: u32,
    /// The length of the lease: the longest time that the worker may go without renewing it.
    pub lease: Duration,
    /// `Some`: claims no jobs of these owners, and at most one job of each other owner. `None`:
    /// claims jobs of all owners.
    pub excluded_owners: Option<&'a [String]>,
}

/// A worker that has not renewed its leases.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SilentWorker {
    /// The name.
    pub name: String,
    /// When the last of these leases ends, in milliseconds since the Unix epoch, rounded up. Changes
    /// with every renewal.
    pub lease_until: i64,
}

/// A claimed job, which only the claiming worker may run and write.
#[derive(Debug)]
pub struct Claimed {
    /// The call to run.
    pub attempt: Attempt,
    /// The fencing information for writes of this attempt.
    pub lease: Lease,
    /// How long the job was due before it was claimed.
    pub waited: Duration,
}

/// The data of a claimed job that is needed to write the end of the attempt.
#[derive(Clone, Debug)]
pub struct Lease {
    /// The job.
    pub job: JobId,
    /// The attempt number, which fences its writes.
    pub number: u32,
    /// The owner of the job.
    pub owner: String,
    /// The tool.
    pub tool: String,
    /// The number of failed attempts before this one.
    pub failures: u32,
    /// The maximum number of failed attempts.
    pub max_attempts: u32,
    /// How long the result is kept.
    pub keep: Duration,
    /// The job that waits for this one.
    pub parent: Option<JobId>,
    /// Whether the client must be notified of results and questions, because its call is a stream.
    pub notifies_client: bool,
}

/// How an attempt ended.
#[derive(Clone, Debug)]
pub enum End {
    /// With an answer for the client.
    Answered(JobOutcome),
    /// With questions to the client.
    InputRequired(BTreeMap<String, Question>),
    /// With child jobs that must end first, by a key that the tool chose.
    Children(BTreeMap<String, NewJob>),
    /// With a transient error; the job is retried unless this was its last attempt.
    Retry(String),
    /// Released by a stopping worker: requeued immediately, not counted as a failure.
    Released,
}

impl End {
    /// The name in logs and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Answered(_) => "answered",
            Self::InputRequired(_) => "input_required",
            Self::Children(_) => "children",
            Self::Retry(_) => "retry",
            Self::Released => "released",
        }
    }
}

/// The ends that were written.
#[derive(Debug, Default)]
pub struct Finished {
    /// The jobs whose end was written. Any others had ended, or had been reclaimed, before.
    pub written: BTreeSet<JobId>,
    /// Those of them whose clients must be notified ([`WorkQueue::unnotified`]).
    pub to_notify: Vec<JobId>,
}

/// A job with a pending notification to its client.
#[derive(Clone, Debug)]
pub struct Unnotified {
    /// The job, as it was read.
    pub job: Job,
    /// The number of its last attempt.
    pub attempt: u32,
}
