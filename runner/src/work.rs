//! A runner from start to shutdown.

use std::sync::{Arc, Mutex, PoisonError};

use mcp::Bus;
use tokio::{sync::mpsc, task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    claiming,
    completions::{self, Completion, Completions},
    engine::Runner,
    leases, lost_workers,
    observer::Observer,
    progress::{self, ProgressBoard},
    queue::WorkQueue,
    running::Running,
    settings::Settings,
    shared::Shared,
};

/// What a runner consists of.
pub struct Parts {
    /// The queue.
    pub queue: Arc<dyn WorkQueue>,
    /// The signals of other processes: new and cancelled jobs, and which workers exist.
    pub bus: Arc<dyn Bus>,
    /// Runs the jobs.
    pub runner: Arc<dyn Runner>,
    /// Is notified of what happens.
    pub observer: Arc<dyn Observer>,
    /// The settings.
    pub settings: Settings,
}

/// The work of a runner. Clones share it.
#[derive(Clone)]
pub struct Work {
    shared: Arc<Shared>,
    /// `None` once it runs.
    completions: Arc<Mutex<Option<mpsc::Receiver<Completion>>>>,
}

impl Work {
    /// A runner that has not started yet.
    pub fn new(parts: Parts) -> Self {
        let Parts { queue, bus, runner, observer, settings } = parts;
        let (completions, receiver) = Completions::new();
        let shared = Arc::new(Shared {
            running: Running::new(&settings),
            progress: ProgressBoard::default(),
            queue,
            bus,
            runner,
            observer,
            settings,
            completions,
        });
        Self { shared, completions: Arc::new(Mutex::new(Some(receiver))) }
    }

    /// Requests a renewal of the leases now, which also ends jobs whose access was ended.
    pub fn renew_soon(&self) {
        self.shared.running.renew_soon();
    }

    /// Runs jobs until `shutdown` is cancelled, then ends within the timeouts of the settings: jobs
    /// may finish for a while; the remaining jobs are released to the queue, and their attempts do
    /// not count as failures. Does nothing if it runs already.
    pub async fn run(&self, shutdown: &CancellationToken) {
        let receiver = self.completions.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(receiver) = receiver else {
            return;
        };
        let shared = &self.shared;
        // These continue while jobs end, and stop afterwards.
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let queue = Arc::clone(&shared.queue);
        tasks.spawn(completions::write(queue, receiver, stop.clone()));
        tasks.spawn(leases::renew(Arc::clone(shared), stop.clone()));
        let (queue, board) = (Arc::clone(&shared.queue), shared.progress.clone());
        tasks.spawn(progress::flush(queue, board, stop.clone()));
        tasks.spawn(claiming::listen(Arc::clone(shared), stop.clone()));
        tasks.spawn(lost_workers::watch(Arc::clone(shared), stop.clone()));

        shared.observer.works();
        claiming::claim(shared, shutdown).await;
        end_jobs(shared).await;
        stop.cancel();
        let ending = async {
            while let Some(ended) = tasks.join_next().await {
                if let Err(error) = ended {
                    tracing::error!(error = ?error, "A task of the worker failed");
                }
            }
        };
        if timeout(shared.settings.close_timeout, ending).await.is_err() {
            tracing::warn!(
                "Could not finish the last writes of the worker before the shutdown timeout"
            );
        }
    }
}

/// Lets running jobs finish, then releases the rest.
async fn end_jobs(shared: &Shared) {
    let Settings { finish_timeout, release_timeout, .. } = shared.settings;
    if timeout(finish_timeout, shared.running.ended()).await.is_ok() {
        return;
    }
    let left = shared.running.len();
    tracing::info!(left, "Releasing {left} unfinished jobs");
    shared.running.stop_all();
    if timeout(release_timeout, shared.running.ended()).await.is_err() {
        let left = shared.running.abort_all();
        tracing::warn!(
            left,
            "Could not release {left} jobs; other workers reclaim them when their leases expire"
        );
    }
}
