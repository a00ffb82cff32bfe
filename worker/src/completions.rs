//! Writes how jobs ended, many by one statement: while the database takes some, others gather.

use std::time::Duration;

use service::{
    Service,
    db::Failure,
    jobs::{self, End, Lease, Settled},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

/// Ends that are written at once.
const BATCH: usize = 128;

/// Ends that may wait. A job keeps its place until its end is written, so there are never more than
/// there are places; this only keeps the bound visible.
const QUEUE: usize = 1_024;

/// The pause before an end is written again that could not be.
const AGAIN_AFTER: Duration = Duration::from_millis(200);

/// How long an end is tried to be written. After that the job is run again, when its lease ends.
const PATIENCE: Duration = Duration::from_mins(5);

/// Where jobs hand in their ends.
pub(crate) struct Ledger(mpsc::Sender<Entry>);

pub(crate) struct Entry {
    end: (Lease, End),
    kept: oneshot::Sender<Kept>,
}

/// What became of an end.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Kept {
    /// Whether it was written: not if the job had been taken away before.
    pub(crate) written: bool,
    /// Whether the client has to be told.
    pub(crate) to_announce: bool,
}

impl Ledger {
    pub(crate) fn new() -> (Self, mpsc::Receiver<Entry>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (Self(sender), receiver)
    }

    /// Writes an end, and waits until it is written or given up.
    pub(crate) async fn keep(&self, lease: Lease, end: End) -> Kept {
        let (kept, answer) = oneshot::channel();
        let entry = Entry { end: (lease, end), kept };
        if self.0.send(entry).await.is_err() {
            return Kept::default(); // the worker is gone, and so is the attempt
        }
        answer.await.unwrap_or_default()
    }
}

/// Writes ends until `stop`.
pub(crate) async fn write(
    service: Service,
    mut entries: mpsc::Receiver<Entry>,
    stop: CancellationToken,
) {
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _count = entries.recv_many(&mut batch, BATCH) => {}
        }
        write_batch(&service, std::mem::take(&mut batch), &stop).await;
    }
}

async fn write_batch(service: &Service, batch: Vec<Entry>, stop: &CancellationToken) {
    let (ends, answers): (Vec<_>, Vec<_>) = batch.into_iter().map(|it| (it.end, it.kept)).unzip();
    let settled = match settle(service, &ends, stop).await {
        Ok(settled) => settled,
        // One of them may be at fault, and the others should not suffer for it.
        Err(_) => settle_one_by_one(service, &ends, stop).await,
    };
    for ((lease, _), answer) in ends.iter().zip(answers) {
        let kept = Kept {
            written: settled.written.contains(&lease.job),
            to_announce: settled.to_announce.contains(&lease.job),
        };
        let _unheard = answer.send(kept); // by a job that was dropped
    }
}

async fn settle_one_by_one(
    service: &Service,
    ends: &[(Lease, End)],
    stop: &CancellationToken,
) -> Settled {
    let mut all = Settled::default();
    for end in ends {
        match settle(service, std::slice::from_ref(end), stop).await {
            Ok(one) => {
                all.written.extend(one.written);
                all.to_announce.extend(one.to_announce);
            }
            Err(error) => {
                let job = &end.0.job;
                tracing::error!(
                    %job, dependency = error.dependency(), error = ?error,
                    "The end of {job} was not written: {error}"
                );
            }
        }
    }
    all
}

/// Writes ends, again and again while the database is away.
async fn settle(
    service: &Service,
    ends: &[(Lease, End)],
    stop: &CancellationToken,
) -> Result<Settled, Failure> {
    let since = Instant::now();
    loop {
        match jobs::settle(service, ends).await {
            Err(Failure::Unavailable(error)) if since.elapsed() < PATIENCE => {
                tracing::warn!(
                    dependency = "database", error = ?error,
                    "Ends of jobs wait for the database: {error}"
                );
                tokio::select! {
                    () = stop.cancelled() => return Err(Failure::Unavailable(error)),
                    () = sleep(AGAIN_AFTER) => {}
                }
            }
            done => return done,
        }
    }
}
