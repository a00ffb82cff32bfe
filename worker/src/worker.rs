//! A worker from its start to its end.

use std::{future::pending, sync::Arc, time::Duration};

use anyhow::Context as _;
use service::{Service, counted, ending, metrics};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    claiming,
    completions::{self, Ledger},
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

/// The part of the shutdown bound in which running jobs may still come to their own end, as a
/// divisor. The rest is for giving them back.
const FINISHING_SHARE: u32 = 2;

/// How often that is looked at.
const STALL_CHECK: Duration = Duration::from_secs(1);

/// A worker that could not look at the queue for too long.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("could not look for jobs for {0:?}")]
pub struct Stalled(Duration);

/// A worker, before it runs.
pub struct Worker {
    service: Service,
    runner: Arc<dyn Runner>,
    settings: Settings,
    pulse: Pulse,
}

impl Worker {
    /// A worker that runs the jobs of a service by an engine.
    pub fn new(service: Service, runner: Arc<dyn Runner>, settings: Settings) -> Self {
        Self { service, runner, settings, pulse: Pulse::default() }
    }

    /// What tells whether it is well.
    pub fn pulse(&self) -> Pulse {
        self.pulse.clone()
    }

    /// The same with the schedules, of which each worker runs its share. Fails if it could not look
    /// at the queue for longer than [`Settings::stall_limit`]; it has ended in order then, too.
    pub async fn run_with_schedules(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let (service, runner) = (self.service.clone(), Arc::clone(&self.runner));
        let scheduling = tokio::spawn(schedules::run(service, runner, shutdown.clone()));
        let stalled = stalled(self.pulse(), self.settings.stall_limit);
        let running = self.run(shutdown.clone());
        let mut running = std::pin::pin!(running);
        let stalled = tokio::select! {
            () = &mut running => None,
            stalled = stalled => {
                tracing::error!(
                    silence = ?stalled.0,
                    "Could not look for jobs for {:?}; ending, so that another worker is started",
                    stalled.0
                );
                shutdown.cancel();
                running.await;
                Some(stalled)
            }
        };
        scheduling.await.context("the schedules did not end well")??;
        stalled.map_or(Ok(()), |it| Err(it.into()))
    }

    /// Works until `shutdown` is cancelled, then ends within the configured bound: jobs that are
    /// nearly done may end, all others go back to the queue as if they had not been tried.
    pub async fn run(self, shutdown: CancellationToken) {
        let Self { service, runner, settings, pulse } = self;
        let (ledger, entries) = Ledger::new();
        let bound = settings.shutdown_timeout;
        let shared = Arc::new(Shared {
            running: Running::new(&settings),
            progress: ProgressBoard::default(),
            service,
            runner,
            settings,
            pulse,
            ledger,
        });

        metrics::WORKER_PLACES.set([], f64::from(shared.settings.concurrency));
        for found in metrics::CLAIMS {
            metrics::WORKER_CLAIMS.add([found], 0);
        }
        // These go on while jobs end, and stop after them.
        let stop = CancellationToken::new();
        let writing =
            tokio::spawn(completions::write(shared.service.clone(), entries, stop.clone()));
        let renewing = tokio::spawn(leases::renew(Arc::clone(&shared), stop.clone()));
        let noting = tokio::spawn(progress::flush(
            shared.service.clone(),
            shared.progress.clone(),
            stop.clone(),
        ));
        let watching = tokio::spawn(leases::watch_access(Arc::clone(&shared), stop.clone()));
        let hearing = tokio::spawn(claiming::hear(Arc::clone(&shared), stop.clone()));
        let counting = tokio::spawn(totals_writer::write(shared.service.clone(), stop.clone()));

        shared.pulse.beat();
        claiming::claim(&shared, &shutdown).await;
        end_jobs(&shared, ending::work_limit(bound)).await;
        stop.cancel();
        let parts = async {
            for part in [writing, renewing, noting, watching, hearing, counting] {
                if let Err(error) = part.await {
                    tracing::error!(error = ?error, "A part of the worker did not end well: {error}");
                }
            }
        };
        if timeout(bound / ending::CLOSING_SHARE, parts).await.is_err() {
            tracing::warn!("The last writes of the worker were not done in time");
        }
    }
}

/// Ends when the worker has not looked at the queue for longer than `limit`.
async fn stalled(pulse: Pulse, limit: Option<Duration>) -> Stalled {
    let Some(limit) = limit else { return pending().await };
    while pulse.silence() < limit {
        sleep(STALL_CHECK).await;
    }
    Stalled(limit)
}

/// Lets jobs end, then gives back what still runs.
async fn end_jobs(shared: &Shared, bound: Duration) {
    let finishing = bound / FINISHING_SHARE;
    if timeout(finishing, shared.running.ended()).await.is_ok() {
        return;
    }
    let left = shared.running.len();
    tracing::info!(left, "Giving back {}", counted(left, "unfinished job", "unfinished jobs"));
    shared.running.leave();
    let releasing = bound.saturating_sub(finishing);
    if timeout(releasing, shared.running.ended()).await.is_err() {
        let left = shared.running.abandon();
        tracing::warn!(
            left,
            "Could not give back {}; other workers take over when the leases end",
            counted(left, "job", "jobs")
        );
    }
}
