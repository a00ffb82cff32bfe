//! Writes the results of attempts in batches: while the database executes one statement, the next
//! batch gathers.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use crate::queue::{End, Finished, Lease, QueueError, WorkQueue};

/// The maximum number of results in one statement.
const MAX_BATCH: usize = 128;

/// The maximum number of waiting results. A job keeps its slot until its result is written, so
/// there are never more than slots; the limit only makes this explicit.
const QUEUE_CAPACITY: usize = 1_024;

/// Pause before a failed write is retried.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// How long a write is retried. After that the job runs again when its lease expires.
const RETRY_TIMEOUT: Duration = Duration::from_mins(5);

/// Accepts the results of attempts.
pub(crate) struct Completions(mpsc::Sender<Completion>);

pub(crate) struct Completion {
    end: (Lease, End),
    reply: oneshot::Sender<Completed>,
}

/// The outcome of writing a result.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Completed {
    /// Whether it was written. `false`: another worker runs the job, or the write was given up.
    pub(crate) written: bool,
    /// Whether the client must be notified.
    pub(crate) to_notify: bool,
}

impl Completions {
    pub(crate) fn new() -> (Self, mpsc::Receiver<Completion>) {
        let (sender, receiver) = mpsc::channel(QUEUE_CAPACITY);
        (Self(sender), receiver)
    }

    /// Writes a result, and waits until it is written or given up.
    pub(crate) async fn complete(&self, lease: Lease, end: End) -> Completed {
        let (reply, completed) = oneshot::channel();
        let completion = Completion { end: (lease, end), reply };
        if self.0.send(completion).await.is_err() {
            return Completed::default(); // the worker has stopped
        }
        completed.await.unwrap_or_default()
    }
}

/// Writes results until `stop`.
pub(crate) async fn write(
    queue: Arc<dyn WorkQueue>,
    mut completions: mpsc::Receiver<Completion>,
    stop: CancellationToken,
) {
    let mut batch = Vec::with_capacity(MAX_BATCH);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _count = completions.recv_many(&mut batch, MAX_BATCH) => {}
        }
        write_batch(&*queue, std::mem::take(&mut batch), &stop).await;
    }
}

async fn write_batch(queue: &dyn WorkQueue, batch: Vec<Completion>, stop: &CancellationToken) {
    let (ends, replies): (Vec<_>, Vec<_>) =
        batch.into_iter().map(|completion| (completion.end, completion.reply)).unzip();
    let finished = match finish(queue, &ends, stop).await {
        Ok(finished) => finished,
        // One of them may be the cause; the others are still written.
        Err(_) => finish_one_by_one(queue, &ends, stop).await,
    };
    for ((lease, _), reply) in ends.iter().zip(replies) {
        let completed = Completed {
            written: finished.written.contains(&lease.job),
            to_notify: finished.to_notify.contains(&lease.job),
        };
        let _job_was_dropped = reply.send(completed);
    }
}

async fn finish_one_by_one(
    queue: &dyn WorkQueue,
    ends: &[(Lease, End)],
    stop: &CancellationToken,
) -> Finished {
    let mut all = Finished::default();
    for end in ends {
        match finish(queue, std::slice::from_ref(end), stop).await {
            Ok(one) => {
                all.written.extend(one.written);
                all.to_notify.extend(one.to_notify);
            }
            Err(error) => {
                let job = &end.0.job;
                tracing::error!(
                    %job, dependency = error.dependency(), error = ?error,
                    "Could not write the result of a job; it runs again when its lease expires"
                );
            }
        }
    }
    all
}

/// Writes results, and retries while the database is unavailable.
async fn finish(
    queue: &dyn WorkQueue,
    ends: &[(Lease, End)],
    stop: &CancellationToken,
) -> Result<Finished, QueueError> {
    let since = Instant::now();
    loop {
        match queue.finish(ends).await {
            Err(error) if error.is_unavailable() && since.elapsed() < RETRY_TIMEOUT => {
                tracing::warn!(
                    dependency = error.dependency(), error = ?error,
                    "Could not write the results of jobs; retrying"
                );
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return Err(error),
                    () = sleep(RETRY_PAUSE) => {}
                }
            }
            done => return done,
        }
    }
}
