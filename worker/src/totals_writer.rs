//! Writes the totals of finished jobs to the database, where every process can read them, because
//! metrics of this process may not be scraped.

use std::time::Duration;

use app::App;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// Pause between two writes. A worker that is killed loses the totals since the last write.
const INTERVAL: Duration = Duration::from_secs(5);

/// Writes the totals periodically, and once more after `stop`.
pub(crate) async fn write(app: App, stop: CancellationToken) {
    loop {
        let last = tokio::select! {
            () = stop.cancelled() => true,
            () = sleep(INTERVAL) => false,
        };
        if let Err(error) = jobs::write_totals(app.jobs()).await {
            tracing::warn!(
                dependency = error.dependency(), error = ?error,
                "Could not write the totals of finished jobs; retrying"
            );
        }
        if last {
            return;
        }
    }
}
