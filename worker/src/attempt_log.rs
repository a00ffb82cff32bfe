//! What a running job writes down: progress, of which the last one counts, and checkpoints, each of
//! which counts.

use std::sync::OnceLock;

use async_trait::async_trait;
use mcp::job::{JobId, Notebook, Progress, Superseded};
use serde_json::Value;
use service::{
    Service,
    jobs::{self, CheckpointError, Lease},
};

use crate::{progress::ProgressBoard, shared::Shared};

/// The notebook of one attempt.
pub(crate) struct Book {
    service: Service,
    job: JobId,
    number: u32,
    board: ProgressBoard,
    /// Why a checkpoint was not kept, if it was not because the attempt is over.
    problem: OnceLock<String>,
}

impl Book {
    pub(crate) fn new(shared: &Shared, lease: &Lease) -> Self {
        Self {
            service: shared.service.clone(),
            job: lease.job.clone(),
            number: lease.number,
            board: shared.progress.clone(),
            problem: OnceLock::new(),
        }
    }

    /// What went wrong, if the attempt had to stop for another reason than that it was over.
    pub(crate) fn problem(&self) -> Option<String> {
        self.problem.get().cloned()
    }
}

#[async_trait]
impl Notebook for Book {
    async fn progress(&self, progress: Progress) {
        self.board.put(self.job.clone(), self.number, progress);
    }

    async fn checkpoint(&self, state: Value) -> Result<(), Superseded> {
        let kept = jobs::checkpoint(self.service.db(), &self.job, self.number, &state).await;
        kept.map_err(|error| {
            if !matches!(error, CheckpointError::Superseded) {
                tracing::warn!(job = %self.job, error = ?error, "A checkpoint failed: {error}");
                let _first = self.problem.get_or_init(|| "It could not save its place.".to_owned());
            }
            Superseded
        })
    }
}
