//! One attempt of a job.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use mcp::job::{AttemptEnd, JobId};
use service::{
    jobs::{self, Claimed, End},
    metrics::{self, STOPPED},
};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    announcing::announce_some,
    attempt_log::Book,
    running::{Key, Running, Stop, Why},
    shared::Shared,
};

/// How long a job may take to notice that it was stopped.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// Runs a job beside all others.
pub(crate) fn start(shared: &Arc<Shared>, claimed: Claimed) {
    let stop = Arc::new(Stop::default());
    let key = (claimed.lease.job.clone(), claimed.lease.number);
    metrics::JOB_WAIT.took([], claimed.waited);
    shared.running.insert(claimed.lease.clone(), Arc::clone(&stop));
    let task = tokio::spawn({
        let shared = Arc::clone(shared);
        let key = key.clone();
        async move {
            let _place = Place { running: &shared.running, key };
            let _counted = metrics::WORKER_JOBS.while_held([]);
            run(&shared, claimed, &stop).await;
        }
    });
    shared.running.set_task(&key, task.abort_handle());
}

/// The place that a job takes, until this is dropped, for whatever reason.
struct Place<'a> {
    running: &'a Running,
    key: Key,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.running.remove(&self.key);
    }
}

/// Runs a job, keeps its end, and tells its client.
async fn run(shared: &Shared, claimed: Claimed, stop: &Stop) {
    let Claimed { attempt, lease, .. } = claimed;
    let (tool, began) = (attempt.call.tool.clone(), Instant::now());
    let (number, request) = (attempt.number, attempt.call.caller.request.clone());
    let request_id = request.as_deref();
    let book = Arc::new(Book::new(shared, &lease));
    let bound = attempt.timeout;
    let work = shared.runner.run(attempt, Arc::clone(&book) as _, stop.token().clone());
    let mut work = std::pin::pin!(AssertUnwindSafe(work).catch_unwind());

    let ended = tokio::select! {
        ended = &mut work => Some(ended),
        () = async {
            tokio::select! {
                () = sleep(bound) => stop.because(Why::TooLong),
                () = stop.token().cancelled() => {}
            }
        } => timeout(STOP_GRACE, &mut work).await.ok(),
    };
    let end = match ended {
        Some(Ok(end)) => match end {
            AttemptEnd::Answered(outcome) => Some(End::Answered(outcome)),
            AttemptEnd::InputRequired(questions) => Some(End::InputRequired(questions)),
            AttemptEnd::Children(children) => Some(End::Children(children)),
            AttemptEnd::Retry(error) => Some(End::Retry(error)),
            AttemptEnd::Stopped => stopped(stop, &book, bound),
        },
        Some(Err(_panic)) => Some(End::Retry("The program failed in the middle.".to_owned())),
        None => stopped(stop, &book, bound),
    };
    let time = began.elapsed();
    let name = end.as_ref().map_or(STOPPED, End::name);
    metrics::JOB_ATTEMPT_DURATION.took([jobs::tool_label(&tool), name], time);
    let Some(end) = end else {
        tracing::info!(
            job = %lease.job, tool, attempt = number, request_id,
            "Job {} was stopped: it is over or elsewhere", lease.job
        );
        return;
    };
    shared.progress.write_now(&shared.service, &lease.job).await;
    let kept = shared.ledger.keep(lease.clone(), end).await;
    let milliseconds = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    tracing::info!(
        job = %lease.job, tool, attempt = number, request_id, end = name, kept = kept.written,
        milliseconds,
        "Job {} of `{tool}`: {name} after {milliseconds} ms", lease.job
    );
    if kept.to_announce {
        announce(shared, &[lease.job]).await;
    }
}

/// What becomes of a job that did not come to its own end. Nothing, if it is not ours any more.
fn stopped(stop: &Stop, book: &Book, bound: Duration) -> Option<End> {
    match stop.why() {
        Some(Why::Lost) => None,
        Some(Why::Leaving) => Some(End::Released),
        Some(Why::TooLong) => {
            Some(End::Retry(format!("It did not end within {} s.", bound.as_secs())))
        }
        None => book.problem().map(End::Retry),
    }
}

/// Tells clients that do not ask. What fails is done again by a schedule.
async fn announce(shared: &Shared, jobs: &[JobId]) {
    if let Err(error) = announce_some(&shared.service, &*shared.runner, Some(jobs)).await {
        tracing::warn!(
            dependency = error.dependency(), error = ?error,
            "A client could not be told of its job: {error}"
        );
    }
}
