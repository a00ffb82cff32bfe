//! A [`Runner`] that runs no jobs, for schedules, which do not need one.

use std::sync::Arc;

use async_trait::async_trait;
use mcp::{
    StoreError,
    job::{Attempt, AttemptEnd, AttemptStore, Job},
};
use tokio_util::sync::CancellationToken;
use worker::Runner;

/// Stops every attempt at once; every announcement succeeds.
#[derive(Clone, Copy, Debug)]
pub struct Idle;

#[async_trait]
impl Runner for Idle {
    async fn run(&self, _: Attempt, _: Arc<dyn AttemptStore>, _: CancellationToken) -> AttemptEnd {
        AttemptEnd::Stopped
    }

    async fn notify_client(&self, _: &Job) -> Result<(), StoreError> {
        Ok(())
    }
}
