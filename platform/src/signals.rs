//! Publishes signals to other instances after a commit.
//!
//! Best effort: the change itself is committed, and a client that misses the signal sees the change
//! at its next poll. A failure is therefore logged and not returned, and a slow bus delays the
//! caller by at most [`PUBLISH_TIMEOUT`].

use std::time::Duration;

use mcp::{Bus, Signal};

/// How long a caller waits until the bus has accepted its signals.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(1);

/// Publishes the signals of one commit. Call after the commit.
pub async fn publish(bus: &dyn Bus, signals: Vec<Signal>) {
    match tokio::time::timeout(PUBLISH_TIMEOUT, bus.publish_all(signals)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::warn!(
                dependency = error.dependency(), error = ?error,
                "Could not publish signals; clients see the change when they poll"
            );
        }
        Err(_) => tracing::warn!(
            "Could not publish signals within {PUBLISH_TIMEOUT:?}; clients see the change when they poll"
        ),
    }
}
