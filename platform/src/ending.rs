//! How a program ends: in order if it can, and in time in any case.

use std::{io, io::Write as _, process::ExitCode, time::Duration};

use anyhow::bail;
use tokio::{runtime::Builder, time::sleep};
use tokio_util::sync::CancellationToken;

/// The part of `SHUTDOWN_TIMEOUT`, as a divisor, that is kept for closing connections and sending the
/// last spans after all work has ended.
pub const CLOSING_SHARE: u32 = 10;

/// Runs a program's main function. At its end nothing is waited for: neither for tasks, nor for
/// threads that are blocked, such as those that resolve names.
pub fn main(program: impl Future<Output = ExitCode>) -> ExitCode {
    let runtime = match Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            // There is nothing else to tell it to.
            drop(writeln!(io::stderr(), "error: could not start the runtime: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(program);
    runtime.shutdown_background();
    code
}

/// Runs `work`. Once `shutdown` is cancelled it has to end within `limit`; what is not done then is
/// dropped, and an error says so.
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
            tracing::error!("Did not end within SHUTDOWN_TIMEOUT; dropping what is left");
            bail!("did not end within {limit:?}, the SHUTDOWN_TIMEOUT");
        }
    }
}

/// How long work may go on after `shutdown`, so that what comes after it is done in time, too.
pub fn work_limit(limit: Duration) -> Duration {
    limit.saturating_sub(limit / CLOSING_SHARE)
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
