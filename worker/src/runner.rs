//! What a worker needs of the engine: to run a job, and to tell its client.

use std::sync::Arc;

use async_trait::async_trait;
use mcp::{
    Engine, StoreError,
    job::{Attempt, AttemptEnd, AttemptStore, Job},
};
use tokio_util::sync::CancellationToken;

/// Runs jobs. The engine is one; tests have others.
#[async_trait]
pub trait Runner: Send + Sync {
    /// Runs one attempt. Ends soon after `stop`.
    async fn run(
        &self,
        attempt: Attempt,
        notebook: Arc<dyn AttemptStore>,
        stop: CancellationToken,
    ) -> AttemptEnd;

    /// Tells the client of a job how it stands, if that client does not ask. May be called several
    /// times for one state.
    async fn announce(&self, job: &Job) -> Result<(), StoreError>;
}

#[async_trait]
impl Runner for Engine {
    async fn run(
        &self,
        attempt: Attempt,
        notebook: Arc<dyn AttemptStore>,
        stop: CancellationToken,
    ) -> AttemptEnd {
        self.run_job(attempt, notebook, stop).await
    }

    async fn announce(&self, job: &Job) -> Result<(), StoreError> {
        Engine::notify_client(self, job).await
    }
}
