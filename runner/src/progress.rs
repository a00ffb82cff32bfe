//! The progress of running jobs. Only the latest progress of each job is written.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use mcp::job::{JobId, Progress};
use tokio::{
    sync::{Notify, RwLock},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use crate::queue::WorkQueue;

/// The pause between two writes of the progress of all jobs: shorter than clients poll, and few
/// enough writes for any database.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(50);

/// Progress that has not been written yet. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct ProgressBoard {
    waiting: Arc<Waiting>,
    /// Locked exclusively from the moment progress is taken until it is written.
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
    /// Replaces the waiting progress of a job.
    pub(crate) fn put(&self, job: JobId, attempt: u32, progress: Progress) {
        self.waiting.jobs().insert(job, (attempt, progress));
        self.waiting.some.notify_one();
    }

    /// Writes the waiting progress of one job, and waits for a write in progress of [`flush`]: the
    /// next statement may end the job, after which progress cannot be written.
    pub(crate) async fn write_now(&self, queue: &dyn WorkQueue, job: &JobId) {
        let waiting = {
            let _not_while_flushing = self.writing.read().await;
            self.waiting.jobs().remove(job)
        };
        if let Some((number, progress)) = waiting {
            write(queue, &[(job.clone(), number, progress)]).await;
        }
    }
}

/// Writes progress until `stop`: the first at once, then what has arrived since the last write.
pub(crate) async fn flush(
    queue: Arc<dyn WorkQueue>,
    board: ProgressBoard,
    stop: CancellationToken,
) {
    let waiting = &board.waiting;
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = waiting.some.notified() => {}
        }
        let flushing = board.writing.write().await;
        let some = std::mem::take(&mut *waiting.jobs());
        let some: Vec<_> =
            some.into_iter().map(|(job, (number, progress))| (job, number, progress)).collect();
        if !some.is_empty() {
            write(&*queue, &some).await;
        }
        drop(flushing);
        sleep(PROGRESS_INTERVAL).await;
    }
}

/// Writes progress. A failed write is not retried, because more progress follows.
async fn write(queue: &dyn WorkQueue, some: &[(JobId, u32, Progress)]) {
    if let Err(error) = queue.record_progress(some).await {
        tracing::warn!(
            dependency = error.dependency(), error = ?error,
            "Could not write the progress of jobs; dropped it"
        );
    }
}
