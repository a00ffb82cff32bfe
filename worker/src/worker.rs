//! A worker from start to shutdown.

use std::{future::pending, sync::Arc, time::Duration};

use anyhow::Context as _;
use app::{App, metrics};
use platform::ending;
use runner::{Parts, Runner, Work};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    access, health::Pulse, measured::Measured, schedules, settings::Settings, totals_writer,
};

/// The part of the shutdown timeout, as a divisor, in which running jobs may still finish. The rest
/// is for releasing them.
const FINISHING_SHARE: u32 = 2;

/// The part of the time for closing, as a divisor, in which the ends of jobs are written. The rest is
/// for the totals, which count those ends.
const ENDS_SHARE: u32 = 2;

/// Interval of the stall check.
const STALL_CHECK: Duration = Duration::from_secs(1);

/// The worker could not query the queue for too long.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("could not query the queue for {0:?}")]
pub struct Stalled(Duration);

/// A worker that has not started yet.
pub struct Worker {
    app: App,
    runner: Arc<dyn Runner>,
    settings: Settings,
    pulse: Pulse,
}

impl Worker {
    /// A worker that runs the jobs of `app` with `runner`.
    pub fn new(app: App, runner: Arc<dyn Runner>, settings: Settings) -> Self {
        Self { app, runner, settings, pulse: Pulse::default() }
    }

    /// The health of the worker.
    pub fn pulse(&self) -> Pulse {
        self.pulse.clone()
    }

    /// Runs jobs like [`Self::run`], and this worker's share of the schedules. Fails if the queue
    /// could not be queried for longer than [`Settings::stall_limit`], after an orderly shutdown.
    pub async fn run_with_schedules(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let (app, runner) = (self.app.clone(), Arc::clone(&self.runner));
        let scheduling = tokio::spawn(schedules::run(app, runner, shutdown.clone()));
        let stalled = stalled(self.pulse(), self.settings.stall_limit);
        let running = self.run(shutdown.clone());
        let mut running = std::pin::pin!(running);
        let stalled = tokio::select! {
            () = &mut running => None,
            stalled = stalled => {
                tracing::error!(
                    silence = ?stalled.0,
                    "Could not query the queue for {:?}; stopping, so that the platform starts \
                     another worker",
                    stalled.0
                );
                shutdown.cancel();
                running.await;
                Some(stalled)
            }
        };
        scheduling.await.context("the schedules failed")??;
        stalled.map_or(Ok(()), |stalled| Err(stalled.into()))
    }

    /// Runs jobs until `shutdown` is cancelled, then ends within the configured timeout: jobs may
    /// finish for a part of it; the remaining jobs are released to the queue, and their attempts do
    /// not count as failures.
    pub async fn run(self, shutdown: CancellationToken) {
        let Self { app, runner, settings, pulse } = self;
        let bound = settings.shutdown_timeout;
        metrics::WORKER_PLACES.set([], f64::from(settings.concurrency));
        for found in metrics::CLAIMS {
            metrics::WORKER_CLAIMS.add([found], 0);
        }
        let ending = ending::work_limit(bound);
        let finish_timeout = ending / FINISHING_SHARE;
        let closing = bound / ending::CLOSING_SHARE;
        let close_timeout = closing / ENDS_SHARE;
        let work = Work::new(Parts {
            queue: jobs::work_queue(app.jobs()),
            bus: Arc::clone(app.bus()),
            runner,
            observer: Arc::new(Measured { app: app.clone(), pulse }),
            settings: runner::Settings {
                name: settings.name,
                concurrency: settings.concurrency,
                lease: settings.lease,
                poll: settings.poll,
                finish_timeout,
                release_timeout: ending.saturating_sub(finish_timeout),
                close_timeout,
            },
        });
        // These continue while jobs end, and stop afterwards.
        let stop = CancellationToken::new();
        let watching = tokio::spawn(access::watch(app.clone(), work.clone(), stop.clone()));
        let counting = tokio::spawn(totals_writer::write(app, stop.clone()));
        work.run(&shutdown).await;
        stop.cancel();
        let tasks = async {
            for task in [watching, counting] {
                if let Err(error) = task.await {
                    tracing::error!(error = ?error, "A task of the worker failed");
                }
            }
        };
        if timeout(closing.saturating_sub(close_timeout), tasks).await.is_err() {
            tracing::warn!("Could not write the last totals before the shutdown timeout");
        }
    }
}

/// Returns when the worker has not queried the queue for longer than `limit`. `None`: never.
async fn stalled(pulse: Pulse, limit: Option<Duration>) -> Stalled {
    let Some(limit) = limit else { return pending().await };
    while pulse.silence() < limit {
        sleep(STALL_CHECK).await;
    }
    Stalled(limit)
}
