//! The queue, its dependencies and its settings.

use std::{collections::BTreeSet, fmt, sync::Arc};

use async_trait::async_trait;
use mcp::{Bus, Caller, ContentKeys, Signal, UserId, job::JobId};
use platform::{
    clock::Clock,
    db::{Database, Failure},
    signals,
};

use crate::{
    clock_check::ClockCheck,
    counts::{JobCounts, ScheduleCounts},
    quota::JobQuota,
};

/// Decides whether the access that a job was started with is still valid.
#[async_trait]
pub trait Access: Send + Sync {
    /// For each caller, in order: `None` if its access is still valid, otherwise the reason as a
    /// sentence for a person or a model. Sends one query to the database.
    async fn ended(&self, callers: &[&Caller]) -> Result<Vec<Option<&'static str>>, Failure>;
}

/// The dependencies and settings of a queue.
pub struct Parts {
    /// The database with the tables `jobs`, `job_totals` and `schedule_runs`.
    pub db: Database,
    /// The clock for leases and due times.
    pub clock: Arc<dyn Clock>,
    /// Carries signals between processes.
    pub bus: Arc<dyn Bus>,
    /// Decides whether the access of jobs is still valid.
    pub access: Arc<dyn Access>,
    /// Encrypt the columns with users' content.
    pub content_keys: ContentKeys,
    /// The limits for each person.
    pub quota: JobQuota,
    /// The tools that run as jobs, for labels of metrics.
    pub tools: BTreeSet<&'static str>,
}

/// The durable queue of jobs. Cheap to clone; clones share all state.
#[derive(Clone)]
pub struct Queue(Arc<Inner>);

struct Inner {
    parts: Parts,
    totals: JobCounts,
    schedule_totals: ScheduleCounts,
    clock_check: ClockCheck,
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Queue")
    }
}

impl Queue {
    /// Creates a queue in this database.
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(Inner {
            parts,
            totals: JobCounts::default(),
            schedule_totals: ScheduleCounts::default(),
            clock_check: ClockCheck::default(),
        }))
    }

    /// The database, for statements that do not serve one particular person.
    pub fn db(&self) -> &Database {
        &self.0.parts.db
    }

    /// The database for statements on behalf of one person, who may use only a part of the pool.
    pub(crate) fn db_of(&self, user: &UserId) -> Database {
        self.0.parts.db.of_person(user.as_str())
    }

    /// The clock for leases and due times.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.parts.clock
    }

    /// Whether the clock of this machine agrees with that of the database; up to 5 s old. A process
    /// whose clock is wrong must not claim jobs, reclaim them, or run schedules.
    pub async fn is_clock_right(&self) -> bool {
        self.0.clock_check.is_right(self.db()).await
    }

    /// The limits for each person.
    pub fn quota(&self) -> JobQuota {
        self.0.parts.quota
    }

    pub(crate) fn content_keys(&self) -> &ContentKeys {
        &self.0.parts.content_keys
    }

    pub(crate) fn access(&self) -> &dyn Access {
        &*self.0.parts.access
    }

    pub(crate) fn tools(&self) -> &BTreeSet<&'static str> {
        &self.0.parts.tools
    }

    pub(crate) fn totals(&self) -> &JobCounts {
        &self.0.totals
    }

    pub(crate) fn schedule_totals(&self) -> &ScheduleCounts {
        &self.0.schedule_totals
    }

    /// Wakes the workers. Call after the commit of a job that was added with
    /// [`enqueue_in`](crate::enqueue::enqueue_in).
    pub async fn job_queued(&self) {
        self.changed(vec![Signal::JobQueued]).await;
    }

    /// Publishes that these jobs have changed.
    pub(crate) async fn jobs_changed(&self, jobs: impl IntoIterator<Item = JobId>) {
        let signals = jobs.into_iter().map(|job| Signal::JobChanged { job });
        self.changed(signals.collect()).await;
    }

    /// Publishes signals about one commit. Call after the commit.
    pub(crate) async fn changed(&self, signals: Vec<Signal>) {
        signals::publish(&*self.0.parts.bus, signals).await;
    }
}
