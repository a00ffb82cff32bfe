//! A worker's engine that does nothing: for schedules, which need none.

use std::sync::Arc;

use async_trait::async_trait;
use mcp::{
    StoreError,
    job::{Attempt, AttemptEnd, AttemptStore, Job},
};
use tokio_util::sync::CancellationToken;
use worker::Runner;

/// Runs nothing, and tells everybody.
#[derive(Clone, Copy, Debug)]
pub struct Idle;

#[async_trait]
impl Runner for Idle {
    async fn run(&self, _: Attempt, _: Arc<dyn AttemptStore>, _: CancellationToken) -> AttemptEnd {
        AttemptEnd::Stopped
    }

    async fn announce(&self, _: &Job) -> Result<(), StoreError> {
        Ok(())
    }
}
