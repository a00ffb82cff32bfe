//! The jobs that this worker runs, and the places for more.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use mcp::job::JobId;
use service::jobs::Lease;
use tokio::{sync::Notify, task::AbortHandle, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::settings::Settings;

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
pub(crate) type Key = (JobId, u32);

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
    pub(crate) fn because(&self, why: Why) {
        let _first = self.why.get_or_init(|| why);
        self.token.cancel();
    }

    /// The reason, once there is one.
    pub(crate) fn why(&self) -> Option<Why> {
        self.why.get().copied()
    }

    /// Cancelled when the job has to stop.
    pub(crate) fn token(&self) -> &CancellationToken {
        &self.token
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

    /// Adds a job that is about to start.
    pub(crate) fn insert(&self, lease: Lease, stop: Arc<Stop>) {
        let key = (lease.job.clone(), lease.number);
        self.jobs().insert(key, Entry { lease, stop, task: None });
    }

    /// Says which task runs a job, if the job has not ended already.
    pub(crate) fn set_task(&self, key: &Key, task: AbortHandle) {
        if let Some(entry) = self.jobs().get_mut(key) {
            entry.task = Some(task);
        }
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

    /// Ends when that was asked for, or has been since the last time.
    pub(crate) async fn renewal(&self) {
        self.renew.notified().await;
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
    pub(crate) fn lost_attempt(&self, key: &Key) {
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

    pub(crate) fn remove(&self, key: &Key) {
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

    pub(crate) fn attempts(&self) -> Vec<Key> {
        self.jobs().keys().cloned().collect()
    }
}
