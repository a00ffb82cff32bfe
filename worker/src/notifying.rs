//! Notifies clients about their jobs.

use std::time::Duration;

use app::App;
use mcp::job::JobId;
use platform::db::Failure;

use crate::runner::Runner;

/// How long a notification must be overdue before a worker sends it for a job that it did not run.
const NOTIFY_AFTER: Duration = Duration::from_secs(10);

/// Notifies clients that do not poll: of the given jobs, or of all jobs whose notification is
/// overdue. Returns the number of notified clients.
pub(crate) async fn notify_some(
    app: &App,
    runner: &dyn Runner,
    only: Option<&[JobId]>,
) -> Result<u64, Failure> {
    let missed = jobs::unnotified(app.jobs(), only, NOTIFY_AFTER).await?;
    let mut notified = 0;
    for missed in &missed {
        match runner.notify_client(&missed.job).await {
            Ok(()) => {
                jobs::mark_notified(app.jobs(), missed).await?;
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
