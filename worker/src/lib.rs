//! Runs what is not a request.
//!
//! There is no such thing yet: every tool runs in the request that calls it. Jobs and schedules
//! will live here; until then a worker only connects, so that a deployment can have its place
//! ready, and ends when it is told to.

use service::Service;
use tokio_util::sync::CancellationToken;

/// Works until `shutdown` is cancelled.
pub async fn run(_service: Service, shutdown: CancellationToken) -> anyhow::Result<()> {
    shutdown.cancelled().await;
    Ok(())
}
