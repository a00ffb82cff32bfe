//! Publishing signals to other instances after a commit.
//!
//! Best effort: the change itself is committed, and a client that misses the signal asks again sooner or
//! later. So a failure is logged and not returned, and a slow bus delays the caller by at most
//! [`PUBLISH_TIMEOUT`].

use std::time::Duration;

use mcp::{Bus, Signal};

/// How long a caller waits until the bus has accepted its signals.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(1);

/// Publishes what follows from one commit. Call it after the commit.
pub async fn publish(bus: &dyn Bus, signals: Vec<Signal>) {
    match tokio::time::timeout(PUBLISH_TIMEOUT, bus.publish_all(signals)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::warn!(
                dependency = error.dependency(), error = ?error,
                "A change was not published: {error}"
            );
        }
        Err(_) => tracing::warn!("A change was not published within {PUBLISH_TIMEOUT:?}"),
    }
}
