//! Jobs: calls of tools that run in a worker, kept in the database.
//!
//! The row of a job is the only truth about it. A client's side of it is [`mcp::job::Jobs`], which
//! [`store`] implements; a worker's side are the verbs here:
//!
//! ```text
//!            enqueue                 claim                    settle
//!    client ─────────▶ queued ────────────────▶ running ─────────────────▶ completed, failed
//!                        ▲                      │  │  │
//!                        ├── release, retry ◀───┘  │  └──▶ input_required ── answer ──▶ queued
//!                        └── take_over ◀───────────┘  └──▶ waiting ── last child ──▶ queued
//! ```
//!
//! **Whoever writes must be the one who runs.** A claim counts the job's attempts up, and every
//! later write names the number that it got. A worker that was paused for longer than its lease
//! finds that its writes change nothing.
//!
//! **Races are settled by one statement**, and where two rows have to change together (a child and
//! the parent that waits for it) by one transaction that locks the parent first.
//!
//! **A job acts with the access of the token that started it.** When that ends, the job does
//! ([`end_denied`]).
//!
//! Signals are hints, published after the commit. Whoever misses one finds the same by looking.

mod announce;
mod answer;
mod cancel;
mod claim;
mod denied;
pub(crate) mod dialect;
mod enqueue;
mod keep;
mod quota;
mod read;
mod row;
mod settle;
mod stats;
pub mod sweep;
mod take_over;
mod totals;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use mcp::{
    Answer, Signal, StoreError, UserId,
    job::{Job, JobId, JobPage, NewJob, NotEnqueued},
    store::{Subscription, Topic},
};
use platform::db::Failure;

pub(crate) use self::totals::Totals;
pub use self::{
    announce::{Unannounced, mark_announced, unannounced},
    claim::{Claim, Claimed, Lease, Turn, claim},
    denied::{DeniedJobs, end_denied},
    enqueue::{enqueue, enqueue_in},
    keep::{CheckpointError, RENEWALS_PER_LEASE, checkpoint, note_progress, renew},
    quota::{JobQuota, JobUsage, usage},
    settle::{End, Settled, settle},
    stats::{Stats, stats},
    take_over::take_over,
    totals::{Total, What, tool_label, totals, write_totals},
};
use crate::Service;

/// How long a worker may be silent about a job before another one takes it over. A garbage
/// collection, a slow disk or a database that restarts must fit in; the person waits for it.
pub const LEASE: Duration = Duration::from_secs(30);

/// How often a job may be claimed, whatever for: ends one that asks, or is released, for ever.
pub const MAX_CLAIMS: u32 = 1_000;

/// How long a job waits for its client to answer. Longer than a night.
pub const QUESTION_PATIENCE: Duration = Duration::from_hours(24);

/// How long a result is kept if the client does not say.
pub const KEPT: Duration = Duration::from_hours(24);

/// The shortest and the longest time that a client may have a result kept.
pub const KEPT_BOUNDS: (Duration, Duration) =
    (Duration::from_mins(1), Duration::from_hours(7 * 24));

/// Bytes of a result. What is larger belongs into a resource that the result links to.
pub const MAX_RESULT: usize = 1024 * 1024;

/// Bytes of a checkpoint: it is written often.
pub const MAX_CHECKPOINT: usize = 256 * 1024;

/// Characters that are kept of a progress message and of an error.
const MAX_TEXT: usize = 1_000;

/// The jobs of a service, as the engine sees them.
pub fn store(service: &Service) -> Arc<dyn mcp::job::Jobs> {
    Arc::new(Store(service.clone()))
}

struct Store(Service);

#[async_trait]
impl mcp::job::Jobs for Store {
    async fn enqueue(&self, job: NewJob) -> Result<Job, NotEnqueued> {
        enqueue(&self.0, job).await
    }

    async fn get(&self, user: &UserId, id: &JobId) -> Result<Option<Job>, StoreError> {
        read::get(&self.0.db_of(user), user, id).await.map_err(away)
    }

    async fn list_of_tools(
        &self,
        user: &UserId,
        tools: Option<&[&str]>,
        after: Option<&str>,
        max: usize,
    ) -> Result<Option<JobPage>, StoreError> {
        read::list(&self.0.db_of(user), user, tools, after, max).await.map_err(away)
    }

    async fn answer(
        &self,
        user: &UserId,
        id: &JobId,
        answers: BTreeMap<String, Answer>,
    ) -> Result<Option<Job>, StoreError> {
        answer::answer(&self.0, user, id, answers).await.map_err(away)
    }

    async fn cancel(&self, user: &UserId, id: &JobId) -> Result<Option<Job>, StoreError> {
        cancel::cancel(&self.0, user, id).await.map_err(away)
    }
}

impl Service {
    /// Wakes the workers, after the commit of a job that was enqueued with [`enqueue_in`].
    pub async fn job_queued(&self) {
        self.changed(vec![Signal::JobQueued]).await;
    }

    /// Listens to signals of other instances, from now on.
    pub async fn listen(&self, topic: Topic) -> Result<Subscription, StoreError> {
        self.bus().subscribe(topic).await
    }

    /// Tells whoever follows these jobs that they have changed.
    async fn jobs_changed(&self, jobs: impl IntoIterator<Item = JobId>) {
        let signals = jobs.into_iter().map(|job| Signal::JobChanged { job });
        self.changed(signals.collect()).await;
    }
}

/// The engine only needs to know that it got no answer; the source goes to its log.
fn away(failure: Failure) -> StoreError {
    StoreError::new(failure.dependency(), failure)
}

/// A row that we did not write, or that a newer version of this program did.
fn unreadable(what: &str, error: impl Into<anyhow::Error>) -> Failure {
    Failure::Internal(error.into().context(format!("{what} of a job cannot be read")))
}

fn later(now: DateTime<Utc>, by: Duration) -> DateTime<Utc> {
    now + TimeDelta::from_std(by).unwrap_or(TimeDelta::MAX / 4)
}

/// As the database keeps it.
fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// The beginning of a text, without what Postgres does not keep.
fn shortened(text: &str) -> String {
    text.chars().take(MAX_TEXT).map(|it| if it == '\0' { '\u{fffd}' } else { it }).collect()
}

fn internal(error: impl Into<anyhow::Error>) -> Failure {
    Failure::Internal(error.into())
}
