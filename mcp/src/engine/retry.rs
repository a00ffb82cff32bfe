//! Repeating what a store cannot do now, and the leases within which that must succeed.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::store::StoreError;

/// How long a writer may be silent before its calls count as lost. Long enough for a store that
/// stumbles, short enough for a client that waits.
pub(super) const LEASE: Duration = Duration::from_secs(6);

/// How often a writer renews its lease.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(2);

/// For how long a message is offered to a store that is away. After that its writer counts as dead,
/// and somebody else may have the call.
pub(super) const WRITE_TIMEOUT: Duration = LEASE;

/// The same for the answer, which is worth more: nobody can know it without doing the work again.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// The pause before a store that is away is tried again.
const RETRY_DELAY: Duration = Duration::from_millis(100);

/// Repeats what the store cannot do now. What is repeated must be the same thing if it was done
/// already.
pub(super) async fn retry_for<T, F: Future<Output = Result<T, StoreError>>>(
    patience: Duration,
    mut attempt: impl FnMut() -> F,
) -> Result<T, StoreError> {
    let deadline = Instant::now() + patience;
    loop {
        match attempt().await {
            Err(error) if Instant::now() < deadline => {
                tracing::debug!(error = %error, "The store is away, trying again: {error}");
                sleep(RETRY_DELAY).await;
            }
            done => return done,
        }
    }
}
