//! What a running job writes down: progress, of which the last one counts, and checkpoints, each of
//! which counts.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use mcp::job::{AttemptStore, JobId, Progress, Superseded};
use serde_json::Value;
use service::{
    Service,
    jobs::{self, CheckpointError, Lease},
};
use tokio::{
    sync::{Notify, RwLock},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use crate::Shared;

/// The pause between two writes of progress, of all jobs together. Faster than anybody reads, and
/// few enough writes for any database.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(50);

/// Progress that waits to be written.
#[derive(Default)]
pub(crate) struct ProgressBoard {
    waiting: Arc<Waiting>,
    /// Held exclusively from when progress is taken until it is written.
    writing: RwLock<()>,
}

#[derive(Default)]
struct Waiting {
    jobs: Mutex<BTreeMap<JobId, (u32, Progress)>>,
    some: Notify,
}

impl Waiting {
    fn jobs(&self) -> std::sync::MutexGuard<'_, BTreeMap<JobId, (u32, Progress)>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ProgressBoard {
    /// Writes what waits of one job, also what is being written by [`flush`]: what comes next may end
    /// the job, and then nothing is written any more.
    pub(crate) async fn write_now(&self, shared: &Shared, job: &JobId) {
        let waiting = {
            let _not_while_flushing = self.writing.read().await;
            self.waiting.jobs().remove(job)
        };
        if let Some((number, progress)) = waiting {
            write(shared, &[(job.clone(), number, progress)]).await;
        }
    }
}

/// Writes progress until `stop`: the first at once, and then what has come in the meantime.
pub(crate) async fn flush(shared: Arc<Shared>, stop: CancellationToken) {
    let waiting = &shared.progress.waiting;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = waiting.some.notified() => {}
        }
        let flushing = shared.progress.writing.write().await;
        let some = std::mem::take(&mut *waiting.jobs());
        let some: Vec<_> =
            some.into_iter().map(|(job, (number, progress))| (job, number, progress)).collect();
        if !some.is_empty() {
            write(&shared, &some).await;
        }
        drop(flushing);
        sleep(PROGRESS_INTERVAL).await;
    }
}

/// Progress that cannot be written is lost: more will follow.
async fn write(shared: &Shared, some: &[(JobId, u32, Progress)]) {
    if let Err(error) = jobs::note_progress(&shared.service, some).await {
        tracing::warn!(
            dependency = error.dependency(), error = ?error,
            "The progress of jobs was not written: {error}"
        );
    }
}

/// The notebook of one attempt.
pub(crate) struct Book {
    service: Service,
    job: JobId,
    number: u32,
    waiting: Arc<Waiting>,
    /// Why a checkpoint was not kept, if it was not because the attempt is over.
    problem: OnceLock<String>,
}

impl Book {
    pub(crate) fn new(shared: &Shared, lease: &Lease) -> Self {
        Self {
            service: shared.service.clone(),
            job: lease.job.clone(),
            number: lease.number,
            waiting: Arc::clone(&shared.progress.waiting),
            problem: OnceLock::new(),
        }
    }

    /// What went wrong, if the attempt had to stop for another reason than that it was over.
    pub(crate) fn problem(&self) -> Option<String> {
        self.problem.get().cloned()
    }
}

#[async_trait]
impl AttemptStore for Book {
    async fn progress(&self, progress: Progress) {
        self.waiting.jobs().insert(self.job.clone(), (self.number, progress));
        self.waiting.some.notify_one();
    }

    async fn checkpoint(&self, state: Value) -> Result<(), Superseded> {
        let kept = jobs::checkpoint(self.service.db(), &self.job, self.number, &state).await;
        kept.map_err(|error| {
            if !matches!(error, CheckpointError::Superseded) {
                tracing::warn!(job = %self.job, error = ?error, "A checkpoint failed: {error}");
                let _first = self.problem.get_or_init(|| "It could not save its place.".to_owned());
            }
            Superseded
        })
    }
}
