//! Runs one attempt of a job.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use mcp::job::{AttemptEnd, JobId};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    attempt_log::AttemptLog,
    notifying::notify_some,
    queue::{Claimed, End},
    running::{Key, Running, Stop, StopReason},
    shared::Shared,
};

/// How long an attempt may continue after a stop was requested.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// Starts a claimed job in a separate task.
pub(crate) fn start(shared: &Arc<Shared>, claimed: Claimed) {
    let stop = Arc::new(Stop::default());
    let key = (claimed.lease.job.clone(), claimed.lease.number);
    let counted = shared.observer.attempt_started(claimed.waited);
    shared.running.insert(claimed.lease.clone(), Arc::clone(&stop));
    let task = tokio::spawn({
        let shared = Arc::clone(shared);
        let key = key.clone();
        async move {
            let _slot = Slot { running: &shared.running, key };
            let _counted = counted;
            run(&shared, claimed, &stop).await;
        }
    });
    shared.running.set_task(&key, task.abort_handle());
}

/// The slot of a job. Released on drop, also after a panic.
struct Slot<'a> {
    running: &'a Running,
    key: Key,
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.running.remove(&self.key);
    }
}

/// Runs an attempt, writes its result, and notifies the client.
async fn run(shared: &Shared, claimed: Claimed, stop: &Stop) {
    let Claimed { attempt, lease, .. } = claimed;
    let (tool, began) = (attempt.call.tool.clone(), Instant::now());
    let (number, request) = (attempt.number, attempt.call.caller.request.clone());
    let request_id = request.as_deref();
    let log = Arc::new(AttemptLog::new(shared, &lease));
    let bound = attempt.timeout;
    let work = shared.runner.run(attempt, Arc::clone(&log) as _, stop.token().clone());
    let mut work = std::pin::pin!(AssertUnwindSafe(work).catch_unwind());

    let ended = tokio::select! {
        biased;
        ended = &mut work => Some(ended),
        () = async {
            tokio::select! {
                biased;
                () = sleep(bound) => stop.request(StopReason::TimedOut),
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
            AttemptEnd::Stopped => stopped(stop, &log, bound),
        },
        Some(Err(_panic)) => Some(End::Retry("The job failed with an internal error.".to_owned())),
        None => stopped(stop, &log, bound),
    };
    let time = began.elapsed();
    shared.observer.attempt_ended(&tool, end.as_ref(), time);
    let Some(end) = end else {
        tracing::info!(
            job = %lease.job, tool, attempt = number, request_id,
            "Stopped job {}: it has ended, or another worker runs it", lease.job
        );
        return;
    };
    let name = end.name();
    shared.progress.write_now(&*shared.queue, &lease.job).await;
    let completed = shared.completions.complete(lease.clone(), end).await;
    let milliseconds = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    tracing::info!(
        job = %lease.job, tool, attempt = number, request_id, end = name, kept = completed.written,
        milliseconds,
        "Job {} of `{tool}`: {name} after {milliseconds} ms", lease.job
    );
    if completed.to_notify {
        notify(shared, &[lease.job]).await;
    }
}

/// Returns the result of an attempt that was stopped. `None`: another worker runs the job, or the
/// job has ended.
fn stopped(stop: &Stop, log: &AttemptLog, bound: Duration) -> Option<End> {
    match stop.reason() {
        Some(StopReason::LeaseLost) => None,
        Some(StopReason::ShuttingDown) => Some(End::Released),
        Some(StopReason::TimedOut) => {
            Some(End::Retry(format!("It did not end within {} s.", bound.as_secs())))
        }
        None => log.problem().map(End::Retry),
    }
}

/// Notifies clients that do not poll. Failures are retried by a schedule.
async fn notify(shared: &Shared, jobs: &[JobId]) {
    if let Err(error) = notify_some(&*shared.queue, &*shared.runner, Some(jobs)).await {
        tracing::warn!(
            dependency = error.dependency(), error = ?error,
            "Could not read or record the notification of a job; a schedule retries"
        );
    }
}
