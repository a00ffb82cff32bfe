//! Notifies clients about their jobs.

use std::time::Duration;

use mcp::job::JobId;

use crate::{
    engine::Runner,
    queue::{QueueError, WorkQueue},
};

/// How long a notification must be overdue before a worker sends it for a job that it did not run.
const NOTIFY_AFTER: Duration = Duration::from_secs(10);

/// Notifies clients that do not poll: of the given jobs, or of all jobs whose notification is
/// overdue. Returns the number of notified clients.
pub async fn notify_some(
    queue: &dyn WorkQueue,
    runner: &dyn Runner,
    only: Option<&[JobId]>,
) -> Result<u64, QueueError> {
    let missed = queue.unnotified(only, NOTIFY_AFTER).await?;
    let mut notified = 0;
    for missed in &missed {
        match runner.notify_client(&missed.job).await {
            Ok(()) => {
                queue.mark_notified(missed).await?;
                notified += 1;
            }
            Err(error) => {
                let job = &missed.job.id;
                tracing::warn!(
                    %job, dependency = error.dependency(), error = %error,
                    "Could not notify the client of a job; a schedule retries"
                );
            }
        }
    }
    Ok(notified)
}
