//! The jobs that this worker runs, and the places for more.

use std::{
    collections::{BTreeSet, HashMap},
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt as _;
use mcp::{
    AccessCheck as _,
    job::{AttemptEnd, JobId},
};
use service::{
    jobs::{self, Claimed, DeniedJobs, End, Lease, RENEWALS_PER_LEASE},
    metrics::{self, STOPPED},
    oauth::revoked,
};
use tokio::{
    sync::Notify,
    task::AbortHandle,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{Settings, Shared, notebook::Book};

/// How long a job may take to notice that it was stopped.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// The part of the places that is kept for people who have nothing running here, as a divisor: jobs
/// of one person that take minutes must not keep everybody else out.
const NEWCOMERS_SHARE: u32 = 4;

/// The part of the places that has to be free before a busy worker claims again, as a divisor.
const REFILL_SHARE: u32 = 4;

/// Why a job was stopped from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// It was cancelled, or another worker has it: nothing may be written.
    Lost,
    /// The worker goes.
    Leaving,
    /// It took too long.
    TooLong,
}

/// The jobs that run here.
pub(crate) struct Running {
    concurrency: u32,
    /// By attempt: one that was paused for longer than its lease may still be here when the next
    /// one is claimed.
    jobs: Mutex<HashMap<Key, Entry>>,
    /// Whether a job was lost that does not run here, since the last claim began: it may be one that
    /// the claim has just taken. Written and read with the lock of `jobs` held.
    lost_another: AtomicBool,
    wake: Notify,
    room: Notify,
    all_ended: Notify,
    renew: Notify,
}

/// A job, and the number of the attempt.
type Key = (JobId, u32);

struct Entry {
    lease: Lease,
    stop: Arc<Stop>,
    task: Option<AbortHandle>,
}

/// How a job is stopped. The first reason counts.
#[derive(Default)]
pub(crate) struct Stop {
    why: OnceLock<Why>,
    token: CancellationToken,
}

impl Stop {
    fn because(&self, why: Why) {
        let _first = self.why.get_or_init(|| why);
        self.token.cancel();
    }
}

/// Places for jobs.
pub(crate) struct Room {
    pub(crate) places: u32,
    /// If given: not for these people.
    pub(crate) newcomers_only: Option<Vec<String>>,
}

impl Running {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            concurrency: settings.concurrency,
            jobs: Mutex::default(),
            lost_another: AtomicBool::new(false),
            wake: Notify::new(),
            room: Notify::new(),
            all_ended: Notify::new(),
            renew: Notify::new(),
        }
    }

    fn jobs(&self) -> MutexGuard<'_, HashMap<Key, Entry>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn len(&self) -> usize {
        self.jobs().len()
    }

    /// The places that are free, if any are.
    pub(crate) fn free(&self) -> Option<Room> {
        let jobs = self.jobs();
        let taken = u32::try_from(jobs.len()).unwrap_or(u32::MAX);
        let places = self.concurrency.saturating_sub(taken);
        let open = places.saturating_sub(self.concurrency / NEWCOMERS_SHARE);
        match (open, places) {
            (_, 0) => None,
            (0, places) => {
                let owners: BTreeSet<_> = jobs.values().map(|it| it.lease.owner.clone()).collect();
                Some(Room { places, newcomers_only: Some(owners.into_iter().collect()) })
            }
            (open, _) => Some(Room { places: open, newcomers_only: None }),
        }
    }

    /// Waits until so many places are free that a claim is worth it, but not for long.
    pub(crate) async fn gather_room(&self, patience: Duration) {
        let enough = self.concurrency.div_ceil(REFILL_SHARE);
        let gathering = async {
            while self.free().is_none_or(|it| it.newcomers_only.is_some() || it.places < enough) {
                self.room.notified().await;
            }
        };
        let _in_time = timeout(patience, gathering).await;
    }

    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Ends when there may be something to claim, or has been since the last time.
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Ends when a place has become free, or has since the last time.
    pub(crate) async fn room(&self) {
        self.room.notified().await;
    }

    /// Asks for the leases to be renewed now, which finds what was cancelled.
    pub(crate) fn renew_soon(&self) {
        self.renew.notify_one();
    }

    /// Stops a job that this worker may not write any more.
    pub(crate) fn lost(&self, job: &JobId) {
        let jobs = self.jobs();
        let mut is_here = false;
        for entry in jobs.values().filter(|it| it.lease.job == *job) {
            entry.stop.because(Why::Lost);
            is_here = true;
        }
        if !is_here {
            self.lost_another.store(true, Ordering::Relaxed);
        }
    }

    /// A claim begins: what it takes is not here before [`Self::claimed`].
    pub(crate) fn claims(&self) {
        let _jobs = self.jobs();
        self.lost_another.store(false, Ordering::Relaxed);
    }

    /// What a claim has taken is here. If a job was lost meanwhile that was not, it may be one of
    /// these, and the renewal of their leases will tell.
    pub(crate) fn claimed(&self) {
        let _jobs = self.jobs();
        if self.lost_another.load(Ordering::Relaxed) {
            self.renew_soon();
        }
    }

    /// Stops one attempt that this worker may not write any more.
    fn lost_attempt(&self, key: &Key) {
        if let Some(entry) = self.jobs().get(key) {
            entry.stop.because(Why::Lost);
        }
    }

    /// Stops all jobs because the worker goes.
    pub(crate) fn leave(&self) {
        for entry in self.jobs().values() {
            entry.stop.because(Why::Leaving);
        }
    }

    /// Drops all jobs where they are. Says how many.
    pub(crate) fn abandon(&self) -> usize {
        let jobs = std::mem::take(&mut *self.jobs());
        for entry in jobs.values() {
            if let Some(task) = &entry.task {
                task.abort();
            }
        }
        jobs.len()
    }

    /// Ends when nothing runs.
    pub(crate) async fn ended(&self) {
        loop {
            let ended = self.all_ended.notified();
            if self.jobs().is_empty() {
                return;
            }
            ended.await;
        }
    }

    fn remove(&self, key: &Key) {
        let empty = {
            let mut jobs = self.jobs();
            jobs.remove(key);
            jobs.is_empty()
        };
        self.room.notify_one();
        if empty {
            self.all_ended.notify_waiters();
        }
    }

    fn attempts(&self) -> Vec<Key> {
        self.jobs().keys().cloned().collect()
    }
}

/// Runs a job beside all others.
pub(crate) fn start(shared: &Arc<Shared>, claimed: Claimed) {
    let stop = Arc::new(Stop::default());
    let key = (claimed.lease.job.clone(), claimed.lease.number);
    let entry = Entry { lease: claimed.lease.clone(), stop: Arc::clone(&stop), task: None };
    metrics::JOB_WAIT.took([], claimed.waited);
    shared.running.jobs().insert(key.clone(), entry);
    let task = tokio::spawn({
        let shared = Arc::clone(shared);
        let key = key.clone();
        async move {
            let _place = Place { running: &shared.running, key };
            let _counted = metrics::WORKER_JOBS.while_held([]);
            run(&shared, claimed, &stop).await;
        }
    });
    if let Some(entry) = shared.running.jobs().get_mut(&key) {
        entry.task = Some(task.abort_handle());
    }
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
    let work = shared.runner.run(attempt, Arc::clone(&book) as _, stop.token.clone());
    let mut work = std::pin::pin!(AssertUnwindSafe(work).catch_unwind());

    let ended = tokio::select! {
        ended = &mut work => Some(ended),
        () = async {
            tokio::select! {
                () = sleep(bound) => stop.because(Why::TooLong),
                () = stop.token.cancelled() => {}
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
    shared.progress.write_now(shared, &lease.job).await;
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
    match stop.why.get() {
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
    if let Err(error) =
        crate::schedules::announce_some(&shared.service, &*shared.runner, Some(jobs)).await
    {
        tracing::warn!(
            dependency = error.dependency(), error = ?error,
            "A client could not be told of its job: {error}"
        );
    }
}

/// Ends the jobs that run here and whose access was ended.
async fn end_denied(shared: &Shared, ours: BTreeSet<Key>) {
    let these = DeniedJobs::These(ours.into_iter().map(|(job, _)| job).collect());
    match jobs::end_denied(&shared.service, &these).await {
        Ok(ended) => ended.iter().for_each(|job| shared.running.lost(job)),
        Err(error) => {
            tracing::warn!(
                dependency = error.dependency(), error = ?error,
                "Could not check the access of running jobs: {error}"
            );
        }
    }
}

/// Renews the leases as soon as a person's access was ended, which finds the jobs to be ended.
pub(crate) async fn watch_access(shared: Arc<Shared>, stop: CancellationToken) {
    let mut changes = shared.service.revoked().changes();
    let following = revoked::follow(&shared.service, |_grant| {});
    let renewing = async {
        while changes.changed().await.is_ok() {
            shared.running.renew_soon();
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = following => {}
        () = renewing => {}
    }
}

/// Renews the leases of all jobs by one statement, until `stop`. Stops the jobs that are not ours
/// any more, and all of them when nothing could be renewed for as long as a lease lasts.
pub(crate) async fn renew(shared: Arc<Shared>, stop: CancellationToken) {
    let pause = shared.settings.lease / RENEWALS_PER_LEASE;
    let mut renewed_at = Instant::now();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(pause) => {}
            () = shared.running.renew.notified() => {}
        }
        let attempts = shared.running.attempts();
        if attempts.is_empty() {
            renewed_at = Instant::now();
            continue;
        }
        match jobs::renew(&shared.service, &attempts, shared.settings.lease).await {
            Ok(ours) => {
                renewed_at = Instant::now();
                for lost in attempts.iter().filter(|it| !ours.contains(it)) {
                    shared.running.lost_attempt(lost);
                }
                end_denied(&shared, ours).await;
            }
            Err(error) => {
                tracing::warn!(
                    dependency = error.dependency(), error = ?error,
                    "The leases of jobs were not renewed: {error}"
                );
                if renewed_at.elapsed() > shared.settings.lease {
                    for lost in &attempts {
                        shared.running.lost_attempt(lost);
                    }
                }
            }
        }
    }
}
