//! The progress and the checkpoints of one attempt. Only the latest progress is written, but every
//! checkpoint.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use mcp::job::{AttemptStore, JobId, Progress, Superseded};
use serde_json::Value;

use crate::{
    progress::ProgressBoard,
    queue::{CheckpointError, Lease, WorkQueue},
    shared::Shared,
};

/// Writes the progress and checkpoints of one attempt.
pub(crate) struct AttemptLog {
    queue: Arc<dyn WorkQueue>,
    job: JobId,
    number: u32,
    board: ProgressBoard,
    /// The error of a failed checkpoint, unless the attempt was superseded.
    problem: OnceLock<String>,
}

impl AttemptLog {
    pub(crate) fn new(shared: &Shared, lease: &Lease) -> Self {
        Self {
            queue: Arc::clone(&shared.queue),
            job: lease.job.clone(),
            number: lease.number,
            board: shared.progress.clone(),
            problem: OnceLock::new(),
        }
    }

    /// Returns the error of a failed checkpoint, unless the attempt was superseded.
    pub(crate) fn problem(&self) -> Option<String> {
        self.problem.get().cloned()
    }
}

#[async_trait]
impl AttemptStore for AttemptLog {
    async fn progress(&self, progress: Progress) {
        self.board.put(self.job.clone(), self.number, progress);
    }

    async fn checkpoint(&self, state: Value) -> Result<(), Superseded> {
        let kept = self.queue.checkpoint(&self.job, self.number, &state).await;
        kept.map_err(|error| {
            if !matches!(error, CheckpointError::Superseded) {
                tracing::warn!(
                    job = %self.job, error = ?error,
                    "Could not write a checkpoint; the job is retried"
                );
                let _first = self.problem.get_or_init(|| "Could not save a checkpoint.".to_owned());
            }
            Superseded
        })
    }
}
