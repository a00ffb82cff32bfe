//! Graceful shutdown with a deadline.

use std::{io, io::Write as _, process::ExitCode, time::Duration};

use anyhow::bail;
use tokio::{runtime::Builder, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::memory;

/// The part of `SHUTDOWN_TIMEOUT`, as a divisor, that is reserved for closing connections and
/// sending the last spans after all work has ended.
pub const CLOSING_SHARE: u32 = 10;

/// Runs a program's main function in a multi-threaded runtime, which returns freed memory. When it
/// returns, the runtime is shut down without waiting for tasks or for blocked threads, such as those
/// that resolve names.
pub fn main(program: impl Future<Output = ExitCode>) -> ExitCode {
    let runtime = match Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            // Logging has not started, so standard error is the only output.
            drop(writeln!(io::stderr(), "error: could not start the runtime: {error}"));
            return ExitCode::FAILURE;
        }
    };
    runtime.spawn(memory::collect_regularly());
    let code = runtime.block_on(program);
    runtime.shutdown_background();
    code
}

/// Runs `work`. Once `shutdown` is cancelled, `work` must end within `limit`; otherwise it is
/// dropped, and the result is an error.
pub async fn within(
    limit: Duration,
    shutdown: &CancellationToken,
    work: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let overdue = async {
        shutdown.cancelled().await;
        sleep(limit).await;
    };
    tokio::select! {
        ended = work => ended,
        () = overdue => {
            tracing::error!("Did not stop within SHUTDOWN_TIMEOUT; dropping the remaining work");
            bail!("did not end within {limit:?}, the SHUTDOWN_TIMEOUT");
        }
    }
}

/// Returns how long work may continue after `shutdown`, so that there is time left for closing
/// ([`CLOSING_SHARE`]).
pub fn work_limit(limit: Duration) -> Duration {
    limit.saturating_sub(limit / CLOSING_SHARE)
}

/// Waits for Ctrl-C or SIGTERM.
///
/// # Panics
/// If the system refuses to install a signal handler.
#[cfg(unix)]
pub async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};

    let mut terminate = signal(SignalKind::terminate()).expect("SIGTERM can be handled");
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

/// Waits for Ctrl-C.
///
/// # Panics
/// If the system refuses to install a handler.
#[cfg(not(unix))]
pub async fn stop_signal() {
    tokio::signal::ctrl_c().await.expect("Ctrl-C can be handled");
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_that_does_not_end_is_dropped_in_time_and_only_after_the_signal() {
        let shutdown = CancellationToken::new();
        let limit = Duration::from_secs(25);
        let running = within(limit, &shutdown, pending());
        let mut running = std::pin::pin!(running);
        assert!(timeout(Duration::from_hours(1), &mut running).await.is_err());
        shutdown.cancel();
        assert!(timeout(Duration::from_secs(24), &mut running).await.is_err());
        assert!(timeout(Duration::from_secs(2), &mut running).await.unwrap().is_err());
        let ended = within(limit, &shutdown, async { Ok(()) }).await;
        ended.unwrap();
    }
}
