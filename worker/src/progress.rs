//! The progress of running jobs, of which the last one counts.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use mcp::job::{JobId, Progress};
use service::{Service, jobs};
use tokio::{
    sync::{Notify, RwLock},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

/// The pause between two writes of progress, of all jobs together. Faster than anybody reads, and
/// few enough writes for any database.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(50);

/// Progress that waits to be written. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct ProgressBoard {
    waiting: Arc<Waiting>,
    /// Held exclusively from when progress is taken until it is written.
    writing: Arc<RwLock<()>>,
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
    /// Takes the place of what waits of the same job.
    pub(crate) fn put(&self, job: JobId, attempt: u32, progress: Progress) {
        self.waiting.jobs().insert(job, (attempt, progress));
        self.waiting.some.notify_one();
    }

    /// Writes what waits of one job, also what is being written by [`flush`]: what comes next may end
    /// the job, and then nothing is written any more.
    pub(crate) async fn write_now(&self, service: &Service, job: &JobId) {
        let waiting = {
            let _not_while_flushing = self.writing.read().await;
            self.waiting.jobs().remove(job)
        };
        if let Some((number, progress)) = waiting {
            write(service, &[(job.clone(), number, progress)]).await;
        }
    }
}

/// Writes progress until `stop`: the first at once, and then what has come in the meantime.
pub(crate) async fn flush(service: Service, board: ProgressBoard, stop: CancellationToken) {
    let waiting = &board.waiting;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = waiting.some.notified() => {}
        }
        let flushing = board.writing.write().await;
        let some = std::mem::take(&mut *waiting.jobs());
        let some: Vec<_> =
            some.into_iter().map(|(job, (number, progress))| (job, number, progress)).collect();
        if !some.is_empty() {
            write(&service, &some).await;
        }
        drop(flushing);
        sleep(PROGRESS_INTERVAL).await;
    }
}

/// Progress that cannot be written is lost: more will follow.
async fn write(service: &Service, some: &[(JobId, u32, Progress)]) {
    if let Err(error) = jobs::note_progress(service, some).await {
        tracing::warn!(
            dependency = error.dependency(), error = ?error,
            "The progress of jobs was not written: {error}"
        );
    }
}
