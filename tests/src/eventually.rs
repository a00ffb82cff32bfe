//! Waiting for a condition or a future with one generous timeout.

use std::time::{Duration, Instant};

/// Timeout of every wait in a test. Generous, because a busy machine is not a failure; a passing test
/// never waits this long.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Polling interval of [`eventually`].
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Polls `look` until it returns `Some`. Panics with `what` after [`PATIENCE`].
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "gave up after {PATIENCE:?}: {what}");
        #[expect(clippy::disallowed_methods, reason = "the one place that polls")]
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Awaits `future`. Panics with `what` after [`PATIENCE`].
pub async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_elapsed| panic!("gave up after {PATIENCE:?}: {what}"))
}
