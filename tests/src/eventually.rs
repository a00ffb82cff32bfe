//! Waiting for something that happens elsewhere, without guessing how long it takes.

use std::time::{Duration, Instant};

/// How long a test waits for anything before it fails. Generous, because a busy machine is not a
/// failure: a test that passes never waits this long.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Pause between two looks in [`eventually`].
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Looks until `look` finds something, and fails with `what` when it does not within [`PATIENCE`].
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

/// Waits for `future`, and fails with `what` when it takes longer than [`PATIENCE`].
pub async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_elapsed| panic!("gave up after {PATIENCE:?}: {what}"))
}
