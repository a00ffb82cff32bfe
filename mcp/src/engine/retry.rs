//! Retries of store operations, and the leases within which they must succeed.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::store::StoreError;

/// The lease of a writer: without renewal for this long, its calls count as lost. Longer than a
/// short outage of the store, and short enough for a waiting client.
pub(super) const LEASE: Duration = Duration::from_secs(6);

/// The interval at which a writer renews its lease.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(2);

/// How long writing a message is retried. After that the lease has lapsed, and another instance may
/// have taken the call over.
pub(super) const WRITE_TIMEOUT: Duration = LEASE;

/// How long writing a response is retried. Longer, because a lost response requires running the
/// call again.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// The delay between two attempts.
const RETRY_DELAY: Duration = Duration::from_millis(100);

/// Retries a store operation until it succeeds or `timeout` has passed. The operation must be
/// idempotent, since the outcome of a failed attempt is unknown.
pub(super) async fn retry_for<T, F: Future<Output = Result<T, StoreError>>>(
    timeout: Duration,
    mut attempt: impl FnMut() -> F,
) -> Result<T, StoreError> {
    let deadline = Instant::now() + timeout;
    loop {
        match attempt().await {
            Err(error) if Instant::now() < deadline => {
                tracing::debug!(%error, "A store operation failed; retrying");
                sleep(RETRY_DELAY).await;
            }
            done => return done,
        }
    }
}
