//! The jobs that run in this worker, and the free slots.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use mcp::job::JobId;
use tokio::{sync::Notify, task::AbortHandle, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{queue::Lease, settings::Settings};

/// The share of the slots, as a divisor, reserved for owners without a running job here, so that
/// long jobs of one user do not block other users.
const IDLE_OWNERS_SHARE: u32 = 4;

/// The share of the slots, as a divisor, that must be free before a busy worker claims again.
const REFILL_SHARE: u32 = 4;

/// Why a job was stopped from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StopReason {
    /// The job was cancelled, or another worker runs it: this worker must not write about it.
    LeaseLost,
    /// The worker is shutting down.
    ShuttingDown,
    /// It exceeded its timeout.
    TimedOut,
}

/// The jobs that run in this worker.
pub(crate) struct Running {
    concurrency: u32,
    /// By attempt: an attempt that was suspended for longer than its lease may still run here when
    /// the next attempt of the same job is claimed.
    jobs: Mutex<BTreeMap<Key, Entry>>,
    /// Whether a job that does not run here was lost since the last claim started: that claim may
    /// have just claimed it. Accessed only while holding the lock of `jobs`.
    lost_unknown: AtomicBool,
    wake: Notify,
    slot_freed: Notify,
    all_ended: Notify,
    renew: Notify,
}

/// A job and the number of the attempt.
pub(crate) type Key = (JobId, u32);

struct Entry {
    lease: Lease,
    stop: Arc<Stop>,
    task: Option<AbortHandle>,
}

/// Requests a job to stop. The first reason is kept.
#[derive(Default)]
pub(crate) struct Stop {
    reason: OnceLock<StopReason>,
    token: CancellationToken,
}

impl Stop {
    pub(crate) fn request(&self, reason: StopReason) {
        let _first = self.reason.get_or_init(|| reason);
        self.token.cancel();
    }

    /// The reason, if a stop was requested.
    pub(crate) fn reason(&self) -> Option<StopReason> {
        self.reason.get().copied()
    }

    /// Cancelled when a stop is requested.
    pub(crate) fn token(&self) -> &CancellationToken {
        &self.token
    }
}

/// Free slots for jobs.
pub(crate) struct FreeSlots {
    pub(crate) slots: u32,
    /// The owners whose jobs may not use the slots. `None`: the slots are for all owners.
    pub(crate) excluded_owners: Option<Vec<String>>,
}

impl Running {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            concurrency: settings.concurrency,
            jobs: Mutex::default(),
            lost_unknown: AtomicBool::new(false),
            wake: Notify::new(),
            slot_freed: Notify::new(),
            all_ended: Notify::new(),
            renew: Notify::new(),
        }
    }

    fn jobs(&self) -> MutexGuard<'_, BTreeMap<Key, Entry>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a job that is about to start.
    pub(crate) fn insert(&self, lease: Lease, stop: Arc<Stop>) {
        let key = (lease.job.clone(), lease.number);
        self.jobs().insert(key, Entry { lease, stop, task: None });
    }

    /// Sets the task of a job, if the job has not ended already.
    pub(crate) fn set_task(&self, key: &Key, task: AbortHandle) {
        if let Some(entry) = self.jobs().get_mut(key) {
            entry.task = Some(task);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.jobs().len()
    }

    /// The free slots. `None`: all are occupied.
    pub(crate) fn free_slots(&self) -> Option<FreeSlots> {
        let jobs = self.jobs();
        let taken = u32::try_from(jobs.len()).unwrap_or(u32::MAX);
        let slots = self.concurrency.saturating_sub(taken);
        let unreserved = slots.saturating_sub(self.concurrency / IDLE_OWNERS_SHARE);
        match (unreserved, slots) {
            (_, 0) => None,
            (0, slots) => {
                let owners: BTreeSet<_> =
                    jobs.values().map(|entry| entry.lease.owner.clone()).collect();
                Some(FreeSlots { slots, excluded_owners: Some(owners.into_iter().collect()) })
            }
            (unreserved, _) => Some(FreeSlots { slots: unreserved, excluded_owners: None }),
        }
    }

    /// Waits, for at most `limit`, until enough slots are free for an efficient claim.
    pub(crate) async fn gather_slots(&self, limit: Duration) {
        let enough = self.concurrency.div_ceil(REFILL_SHARE);
        let gathering = async {
            while self
                .free_slots()
                .is_none_or(|free| free.excluded_owners.is_some() || free.slots < enough)
            {
                self.slot_freed.notified().await;
            }
        };
        let _in_time = timeout(limit, gathering).await;
    }

    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Waits until there may be a job to claim. Returns at once if [`Self::wake`] was called since
    /// the last call.
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Waits until a slot becomes free; returns at once if one did since the last call.
    pub(crate) async fn slot_freed(&self) {
        self.slot_freed.notified().await;
    }

    /// Requests a renewal of the leases now, which finds cancelled jobs.
    pub(crate) fn renew_soon(&self) {
        self.renew.notify_one();
    }

    /// Waits for a request by [`Self::renew_soon`]; returns at once if there was one since the last
    /// call.
    pub(crate) async fn renewal_requested(&self) {
        self.renew.notified().await;
    }

    /// Stops all attempts of a job about which this worker must not write any more.
    pub(crate) fn stop_lost(&self, job: &JobId) {
        let jobs = self.jobs();
        let mut runs_here = false;
        for entry in jobs.values().filter(|entry| entry.lease.job == *job) {
            entry.stop.request(StopReason::LeaseLost);
            runs_here = true;
        }
        if !runs_here {
            self.lost_unknown.store(true, Ordering::Relaxed);
        }
    }

    /// Marks the start of a claim: its jobs are not in the list before [`Self::claim_finished`].
    pub(crate) fn claim_started(&self) {
        let _jobs = self.jobs();
        self.lost_unknown.store(false, Ordering::Relaxed);
    }

    /// Marks the end of a claim, when its jobs are in the list. If a job that was not in the list
    /// was lost meanwhile, it may be one of them, so the leases are renewed to find out.
    pub(crate) fn claim_finished(&self) {
        let _jobs = self.jobs();
        if self.lost_unknown.load(Ordering::Relaxed) {
            self.renew_soon();
        }
    }

    /// Stops one attempt about which this worker must not write any more.
    pub(crate) fn stop_lost_attempt(&self, key: &Key) {
        if let Some(entry) = self.jobs().get(key) {
            entry.stop.request(StopReason::LeaseLost);
        }
    }

    /// Stops all jobs because the worker is shutting down.
    pub(crate) fn stop_all(&self) {
        for entry in self.jobs().values() {
            entry.stop.request(StopReason::ShuttingDown);
        }
    }

    /// Aborts the tasks of all jobs. Returns how many there were.
    pub(crate) fn abort_all(&self) -> usize {
        let jobs = std::mem::take(&mut *self.jobs());
        for entry in jobs.values() {
            if let Some(task) = &entry.task {
                task.abort();
            }
        }
        jobs.len()
    }

    /// Waits until no job is running.
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
        self.slot_freed.notify_one();
        if empty {
            self.all_ended.notify_waiters();
        }
    }

    pub(crate) fn attempts(&self) -> Vec<Key> {
        self.jobs().keys().cloned().collect()
    }
}
