//! The queue as an implementation of the runner's queue.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use async_trait::async_trait;
use mcp::job::{JobId, Progress};
use platform::db::Failure;
use runner::{
    CheckpointError, Claim, Claimed, End, Finished, Lease, QueueError, SilentWorker, Turn,
    Unnotified, WorkQueue,
};
use serde_json::Value;

use crate::{
    attempt, claim,
    denied::{self, DeniedJobs},
    finish, notify,
    queue::Queue,
    silent,
};

/// The runner's view of a queue.
pub fn work_queue(queue: &Queue) -> Arc<dyn WorkQueue> {
    Arc::new(SqlWorkQueue(queue.clone()))
}

struct SqlWorkQueue(Queue);

fn queue_error(failure: Failure) -> QueueError {
    QueueError::new(failure.dependency(), failure)
}

/// The failure of the database from which an error of [`work_queue()`] was made.
pub fn into_failure(error: QueueError) -> Failure {
    let failure = error.into_source().downcast::<Failure>();
    failure.map_or_else(|other| Failure::Internal(anyhow::anyhow!(other)), |failure| *failure)
}

#[async_trait]
impl WorkQueue for SqlWorkQueue {
    async fn claim(&self, turn: &mut Turn, claim: Claim<'_>) -> Result<Vec<Claimed>, QueueError> {
        if !self.0.is_clock_right().await {
            return Ok(Vec::new()); // another process on this machine would not help
        }
        claim::claim(&self.0, turn, claim).await.map_err(queue_error)
    }

    async fn renew(
        &self,
        attempts: &[(JobId, u32)],
        lease: Duration,
    ) -> Result<BTreeSet<(JobId, u32)>, QueueError> {
        attempt::renew(&self.0, attempts, lease).await.map_err(queue_error)
    }

    async fn silent_workers(
        &self,
        lease: Duration,
        silence: Duration,
    ) -> Result<Vec<SilentWorker>, QueueError> {
        if !self.0.is_clock_right().await {
            return Ok(Vec::new());
        }
        silent::silent_workers(&self.0, lease, silence).await.map_err(queue_error)
    }

    async fn reclaim_from(&self, worker: &SilentWorker) -> Result<u64, QueueError> {
        silent::reclaim_from(&self.0, worker).await.map_err(queue_error)
    }

    async fn end_denied(&self, jobs: Vec<JobId>) -> Result<Vec<JobId>, QueueError> {
        denied::end_denied(&self.0, &DeniedJobs::These(jobs)).await.map_err(queue_error)
    }

    async fn record_progress(&self, attempts: &[(JobId, u32, Progress)]) -> Result<(), QueueError> {
        attempt::record_progress(&self.0, attempts).await.map_err(queue_error)
    }

    async fn checkpoint(
        &self,
        job: &JobId,
        attempt: u32,
        state: &Value,
    ) -> Result<(), CheckpointError> {
        let stored = attempt::checkpoint(&self.0, self.0.db(), job, attempt, state).await;
        stored.map_err(|error| match error {
            attempt::CheckpointError::Superseded => CheckpointError::Superseded,
            attempt::CheckpointError::Failed(failure) => queue_error(failure).into(),
            error @ attempt::CheckpointError::TooLarge { .. } => {
                QueueError::new(None, error).into()
            }
        })
    }

    async fn finish(&self, ends: &[(Lease, End)]) -> Result<Finished, QueueError> {
        finish::finish(&self.0, ends).await.map_err(queue_error)
    }

    async fn unnotified(
        &self,
        only: Option<&[JobId]>,
        silence: Duration,
    ) -> Result<Vec<Unnotified>, QueueError> {
        notify::unnotified(&self.0, only, silence).await.map_err(queue_error)
    }

    async fn mark_notified(&self, notified: &Unnotified) -> Result<(), QueueError> {
        notify::mark_notified(&self.0, notified).await.map_err(queue_error)
    }
}
