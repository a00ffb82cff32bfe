//! The interface of the engine for runners: running jobs and notifying clients.

use std::sync::Arc;

use async_trait::async_trait;
use mcp::{
    Engine, StoreError,
    job::{Attempt, AttemptEnd, AttemptStore, Job},
};
use tokio_util::sync::CancellationToken;

/// Runs jobs. Implemented by the engine, and by fakes in tests.
#[async_trait]
pub trait Runner: Send + Sync {
    /// Runs one attempt. Returns soon after `stop`.
    async fn run(
        &self,
        attempt: Attempt,
        store: Arc<dyn AttemptStore>,
        stop: CancellationToken,
    ) -> AttemptEnd;

    /// Notifies the client of a job about its state, if the client does not poll. Safe to repeat.
    async fn notify_client(&self, job: &Job) -> Result<(), StoreError>;
}

#[async_trait]
impl Runner for Engine {
    async fn run(
        &self,
        attempt: Attempt,
        store: Arc<dyn AttemptStore>,
        stop: CancellationToken,
    ) -> AttemptEnd {
        self.run_job(attempt, store, stop).await
    }

    async fn notify_client(&self, job: &Job) -> Result<(), StoreError> {
        Engine::notify_client(self, job).await
    }
}
