//! Tells clients of their jobs.

use std::time::Duration;

use mcp::job::JobId;
use service::{Service, db::Failure, jobs};

use crate::runner::Runner;

/// How long a client has to be untold before somebody else than the worker of its job tells it.
const SILENCE: Duration = Duration::from_secs(10);

/// Tells clients that do not ask how their jobs stand: of these jobs, or of all that were forgotten.
pub(crate) async fn announce_some(
    service: &Service,
    runner: &dyn Runner,
    only: Option<&[JobId]>,
) -> Result<u64, Failure> {
    let untold = jobs::unannounced(service, only, SILENCE).await?;
    let mut told = 0;
    for untold in &untold {
        match runner.announce(&untold.job).await {
            Ok(()) => {
                jobs::mark_announced(service, untold).await?;
                told += 1;
            }
            Err(error) => {
                let job = &untold.job.id;
                tracing::warn!(
                    %job, dependency = error.dependency(), error = %error,
                    "The client of job {job} was not told: {error}"
                );
            }
        }
    }
    Ok(told)
}
