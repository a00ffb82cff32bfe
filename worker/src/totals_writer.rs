//! Writes what became of jobs into the database, where every process finds it: nothing may be able to
//! ask this one.

use std::time::Duration;

use service::{Service, jobs};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// The pause between two writes. A worker that is killed has not counted what ended since, and
/// nobody looks at totals more often.
const INTERVAL: Duration = Duration::from_secs(5);

/// Writes what was counted, again and again, and once more after `stop`.
pub(crate) async fn write(service: Service, stop: CancellationToken) {
    loop {
        let last = tokio::select! {
            () = stop.cancelled() => true,
            () = sleep(INTERVAL) => false,
        };
        if let Err(error) = jobs::write_totals(&service).await {
            tracing::warn!(
                dependency = error.dependency(), error = ?error,
                "What became of some jobs waits to be counted: {error}"
            );
        }
        if last {
            return;
        }
    }
}
