//! A worker from start to shutdown.

use std::{future::pending, sync::Arc, time::Duration};

use anyhow::Context as _;
use app::{App, metrics};
use platform::{counted, ending};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    claiming,
    completions::{self, Completions},
    health::Pulse,
    leases,
    progress::{self, ProgressBoard},
    runner::Runner,
    running::Running,
    schedules,
    settings::Settings,
    shared::Shared,
    totals_writer,
};

/// The part of the shutdown timeout, as a divisor, in which running jobs may still finish. The rest
/// is for releasing them.
const FINISHING_SHARE: u32 = 2;

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
        let (completions, receiver) = Completions::new();
        let bound = settings.shutdown_timeout;
        let shared = Arc::new(Shared {
            running: Running::new(&settings),
            progress: ProgressBoard::default(),
            app,
            runner,
            settings,
            pulse,
            completions,
        });

        metrics::WORKER_PLACES.set([], f64::from(shared.settings.concurrency));
        for found in metrics::CLAIMS {
            metrics::WORKER_CLAIMS.add([found], 0);
        }
        // These continue while jobs end, and stop afterwards.
        let stop = CancellationToken::new();
        let writing = tokio::spawn(completions::write(shared.app.clone(), receiver, stop.clone()));
        let renewing = tokio::spawn(leases::renew(Arc::clone(&shared), stop.clone()));
        let flushing = tokio::spawn(progress::flush(
            shared.app.clone(),
            shared.progress.clone(),
            stop.clone(),
        ));
        let watching = tokio::spawn(leases::watch_access(Arc::clone(&shared), stop.clone()));
        let listening = tokio::spawn(claiming::listen(Arc::clone(&shared), stop.clone()));
        let counting = tokio::spawn(totals_writer::write(shared.app.clone(), stop.clone()));

        shared.pulse.beat();
        claiming::claim(&shared, &shutdown).await;
        end_jobs(&shared, ending::work_limit(bound)).await;
        stop.cancel();
        let tasks = async {
            for task in [writing, renewing, flushing, watching, listening, counting] {
                if let Err(error) = task.await {
                    tracing::error!(error = ?error, "A task of the worker failed");
                }
            }
        };
        if timeout(bound / ending::CLOSING_SHARE, tasks).await.is_err() {
            tracing::warn!(
                "Could not finish the last writes of the worker before the shutdown timeout"
            );
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

/// Lets running jobs finish, then releases the rest.
async fn end_jobs(shared: &Shared, bound: Duration) {
    let finishing = bound / FINISHING_SHARE;
    if timeout(finishing, shared.running.ended()).await.is_ok() {
        return;
    }
    let left = shared.running.len();
    tracing::info!(left, "Releasing {}", counted(left, "unfinished job", "unfinished jobs"));
    shared.running.stop_all();
    let releasing = bound.saturating_sub(finishing);
    if timeout(releasing, shared.running.ended()).await.is_err() {
        let left = shared.running.abort_all();
        tracing::warn!(
            left,
            "Could not release {}; other workers reclaim them when their leases expire",
            counted(left, "job", "jobs")
        );
    }
}
