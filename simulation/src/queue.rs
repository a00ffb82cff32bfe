//! The simulated queue: the semantics of the table of jobs. Every operation is atomic; claims, leases,
//! fencing, quota and child jobs ([`super::children`]) follow `jobs`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use mcp::{
    ClientAnswer, Signal, UserId,
    job::{Attempt, Job, JobId, JobOutcome, JobStatus, NewJob, NotEnqueued, Progress},
};
use runner::{ANNOUNCED_PREFIX, Claim, Claimed, End, Finished, Lease, SilentWorker, Unnotified};
use serde_json::Value;

use super::{
    children,
    properties::Property,
    row::{RESULT_TTL, Row, Rows},
    world::World,
};

/// How long a job waits for its client to answer, in milliseconds.
const QUESTION_TIMEOUT: u64 = 24 * 3_600 * 1_000;

/// The outcome of a job whose worker was lost at every attempt.
const GIVEN_UP: &str = "the worker was lost at every attempt";

/// The jobs of all users.
pub(super) struct Queue {
    world: Arc<World>,
    /// The most unfinished jobs of a user.
    quota: usize,
    rows: Mutex<Rows>,
    /// The number of leases of running jobs that have expired.
    reclaimed: AtomicU64,
}

/// A change, and the signals to publish after it.
pub(super) type Changed<T> = (T, Vec<Signal>);

impl Queue {
    /// An empty queue. `quota`: the most unfinished jobs of a user.
    pub(super) fn new(world: &Arc<World>, quota: usize) -> Arc<Self> {
        Arc::new(Self {
            world: Arc::clone(world),
            quota,
            rows: Mutex::default(),
            reclaimed: AtomicU64::new(0),
        })
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends a job, and checks that it had not ended before.
    fn end(&self, row: &mut Row, status: JobStatus, outcome: Option<JobOutcome>, now: u64) {
        if row.status.is_final() {
            let what = format!("job {} ends as {status:?} after {:?}", row.new.id, row.status);
            self.world.violated(Property::OneEnd, what);
        }
        self.world.note(|| format!("job {} ends: {status:?}", row.new.id));
        row.end(status, outcome, now);
    }

    pub(super) fn enqueue(&self, new: NewJob, now: u64) -> Changed<Result<Job, NotEnqueued>> {
        let mut rows = self.rows();
        if let Some(existing) = rows.get(&new.id) {
            return (Ok(existing.job()), vec![Signal::JobQueued]);
        }
        let is_counted = |row: &&Row| row.is_owned(&new.call.caller.user) && !row.status.is_final();
        if rows.values().filter(is_counted).count() >= self.quota {
            let limit = u64::try_from(self.quota).unwrap_or(u64::MAX);
            return (Err(NotEnqueued::TooMany { limit }), Vec::new());
        }
        let row = rows.entry(new.id.clone()).or_insert(Row::new(new, None, now));
        (Ok(row.job()), vec![Signal::JobQueued])
    }

    pub(super) fn get(&self, user: &UserId, id: &JobId) -> Option<Job> {
        self.rows().get(id).filter(|row| row.is_visible(user)).map(Row::job)
    }

    pub(super) fn list(&self, user: &UserId) -> Vec<Job> {
        self.rows().values().filter(|row| row.is_visible(user)).map(Row::job).collect()
    }

    pub(super) fn find_unfinished(
        &self,
        user: &UserId,
        tool: &str,
        arguments: &Value,
    ) -> Option<Job> {
        let is_call = |row: &&Row| {
            let call = &row.new.call;
            let sent = serde_json::from_str::<Value>(call.arguments.get());
            row.is_visible(user)
                && call.tool == tool
                && !row.status.is_final()
                && sent.is_ok_and(|sent| sent == *arguments)
        };
        let rows = self.rows();
        rows.values().filter(is_call).max_by_key(|row| row.created).map(Row::job)
    }

    pub(super) fn answer(
        &self,
        user: &UserId,
        id: &JobId,
        answers: BTreeMap<String, ClientAnswer>,
        now: u64,
    ) -> Changed<Option<Job>> {
        let mut rows = self.rows();
        let Some(row) = rows.get_mut(id).filter(|row| row.is_visible(user)) else {
            return (None, Vec::new());
        };
        let open = row.open_questions();
        let mut accepted = answers;
        accepted.retain(|key, _| row.status == JobStatus::InputRequired && open.contains_key(key));
        if accepted.is_empty() {
            return (Some(row.job()), Vec::new());
        }
        row.answers.extend(accepted);
        row.updated = now;
        let mut signals = vec![Signal::JobChanged { job: id.clone() }];
        if row.open_questions().is_empty() {
            row.questions.clear();
            row.is_notified = true;
            row.queue(now, now);
            signals.push(Signal::JobQueued);
        }
        (Some(row.job()), signals)
    }

    pub(super) fn cancel(&self, user: &UserId, id: &JobId, now: u64) -> Changed<Option<Job>> {
        let mut rows = self.rows();
        let Some(row) = rows.get(id).filter(|row| row.is_visible(user)) else {
            return (None, Vec::new());
        };
        if row.status.is_final() {
            return (Some(row.job()), Vec::new());
        }
        let mut cancelled = children::unfinished(&rows, id);
        cancelled.push(id.clone());
        for job in &cancelled {
            if let Some(row) = rows.get_mut(job) {
                self.end(row, JobStatus::Cancelled, None, now);
            }
        }
        children::check(&self.world, &rows, id);
        let signals = cancelled.into_iter().flat_map(|job| {
            [Signal::JobCancelled { job: job.clone() }, Signal::JobChanged { job }]
        });
        (rows.get(id).map(Row::job), signals.collect())
    }

    pub(super) fn claim(&self, claim: &Claim<'_>, now: u64) -> Vec<Claimed> {
        let mut rows = self.rows();
        let mut due: Vec<_> = rows
            .values_mut()
            .filter(|row| row.status == JobStatus::Queued && row.run_at <= now)
            .collect();
        due.sort_by_key(|row| row.run_at);
        let mut owners = BTreeSet::new();
        due.retain(|row| {
            let owner = row.new.call.caller.user.as_str().to_owned();
            claim
                .excluded_owners
                .is_none_or(|excluded| !excluded.contains(&owner) && owners.insert(owner))
        });
        let most = usize::try_from(claim.max).unwrap_or(usize::MAX);
        let due: Vec<_> = due.into_iter().take(most).map(|row| row.new.id.clone()).collect();
        let claimed = due.iter().filter_map(|id| {
            let outcomes = children::outcomes(&rows, id);
            rows.get_mut(id).map(|row| claimed(row, claim, outcomes, now))
        });
        claimed.collect()
    }

    pub(super) fn renew(
        &self,
        attempts: &[(JobId, u32)],
        lease: Duration,
        now: u64,
    ) -> BTreeSet<(JobId, u32)> {
        let mut rows = self.rows();
        let held = attempts.iter().filter(|(job, attempt)| {
            let row = rows.get_mut(job).filter(|row| row.is_held_by(*attempt));
            let is_held = row.is_some();
            if let Some(row) = row {
                row.lease_until = Some(now + millis(lease));
            }
            is_held
        });
        held.cloned().collect()
    }

    pub(super) fn record_progress(&self, attempts: &[(JobId, u32, Progress)]) -> Vec<Signal> {
        let mut rows = self.rows();
        let mut signals = Vec::new();
        for (job, attempt, progress) in attempts {
            let Some(row) = rows.get_mut(job).filter(|row| row.is_held_by(*attempt)) else {
                continue;
            };
            if row.progress.as_ref().is_none_or(|last| progress.done >= last.done) {
                row.progress = Some(progress.clone());
                signals.push(Signal::JobChanged { job: job.clone() });
            }
        }
        signals
    }

    /// Stores a checkpoint, and an effect in the same transaction. `false`: the attempt is not the
    /// current one.
    pub(super) fn checkpoint(
        &self,
        job: &JobId,
        attempt: u32,
        state: &Value,
        effect: Option<(&str, &str)>,
    ) -> bool {
        let mut rows = self.rows();
        let Some(row) = rows.get_mut(job).filter(|row| row.is_held_by(attempt)) else {
            return false;
        };
        row.checkpoint = Some(state.clone());
        if let Some((key, value)) = effect {
            self.world.effect(key, value.to_owned());
        }
        true
    }

    pub(super) fn finish(&self, ends: &[(Lease, End)], now: u64) -> Changed<Finished> {
        let mut finished = Finished::default();
        let mut signals = Vec::new();
        let mut rows = self.rows();
        for (lease, end) in ends {
            let Some(row) = rows.get_mut(&lease.job).filter(|row| row.is_held_by(lease.number))
            else {
                continue;
            };
            finished.written.insert(lease.job.clone());
            match end {
                End::InputRequired(_) | End::Children(_) if lease.parent.is_some() => {
                    let outcome = JobOutcome::failed("a child job cannot do that");
                    self.end(row, JobStatus::Failed, Some(outcome), now);
                }
                End::Answered(outcome) => {
                    let status = match outcome {
                        JobOutcome::Result { .. } => JobStatus::Completed,
                        JobOutcome::Error(_) => JobStatus::Failed,
                    };
                    self.end(row, status, Some(outcome.clone()), now);
                }
                End::InputRequired(questions) => {
                    row.status = JobStatus::InputRequired;
                    row.questions.clone_from(questions);
                    row.lease_until = Some(now + QUESTION_TIMEOUT);
                    row.updated = now;
                    row.is_notified = !row.notifies_client();
                }
                End::Retry(error) => {
                    row.failures += 1;
                    if row.failures >= lease.max_attempts {
                        let outcome = JobOutcome::failed(error.clone());
                        self.end(row, JobStatus::Failed, Some(outcome), now);
                    } else {
                        row.queue(now + (500 << row.failures), now);
                    }
                }
                End::Released => {
                    row.queue(now, now);
                    signals.push(Signal::JobQueued);
                    continue;
                }
                End::Children(children) => {
                    children::begin(&mut rows, &lease.job, children, now);
                    signals.push(Signal::JobQueued);
                    continue;
                }
            }
            let is_final = row.status.is_final();
            if is_final {
                children::check(&self.world, &rows, &lease.job);
            }
            if let Some(parent) = lease.parent.as_ref().filter(|_| is_final) {
                children::ended(&mut rows, parent, now);
                signals.push(Signal::JobQueued);
            }
            signals.push(Signal::JobChanged { job: lease.job.clone() });
            if lease.notifies_client {
                finished.to_notify.push(lease.job.clone());
            }
        }
        (finished, signals)
    }

    /// Requeues jobs whose lease has expired, or fails them if that was their last attempt.
    pub(super) fn reclaim(&self, now: u64) -> Vec<Signal> {
        let mut signals = Vec::new();
        let mut rows = self.rows();
        let mut given_up = Vec::new();
        for row in rows.values_mut() {
            if row.lease_until.is_none_or(|until| until > now) {
                continue;
            }
            if row.status == JobStatus::Running {
                self.reclaimed.fetch_add(1, Ordering::Relaxed);
            }
            row.failures += 1;
            row.lost_attempt = Some(row.attempt);
            let is_given_up =
                row.status == JobStatus::InputRequired || row.failures >= row.new.attempts;
            if is_given_up {
                let outcome = JobOutcome::failed(GIVEN_UP);
                self.end(row, JobStatus::Failed, Some(outcome), now);
                given_up.push((row.new.id.clone(), row.parent().cloned()));
            } else {
                self.world.note(|| format!("job {} is reclaimed", row.new.id));
                row.queue(now, now);
            }
            signals.extend([Signal::JobChanged { job: row.new.id.clone() }, Signal::JobQueued]);
        }
        for (job, parent) in given_up {
            children::check(&self.world, &rows, &job);
            if let Some(parent) = parent {
                children::ended(&mut rows, &parent, now);
            }
        }
        signals
    }

    pub(super) fn silent_workers(
        &self,
        lease: Duration,
        silence: Duration,
        now: u64,
    ) -> Vec<SilentWorker> {
        let limit = now + millis(lease.saturating_sub(silence));
        let mut silent = BTreeMap::new();
        for row in self.rows().values() {
            let until = row.lease_until.filter(|until| *until <= limit);
            if let Some(until) = until
                && row.status == JobStatus::Running
                && row.worker.starts_with(ANNOUNCED_PREFIX)
            {
                let last = silent.entry(row.worker.clone()).or_insert(until);
                *last = until.max(*last);
            }
        }
        let worker = |(name, until)| SilentWorker {
            name,
            lease_until: i64::try_from(until).unwrap_or(i64::MAX),
        };
        silent.into_iter().map(worker).collect()
    }

    /// Ends the leases that a worker has not renewed since it was found silent, and reclaims.
    pub(super) fn reclaim_from(&self, worker: &SilentWorker, now: u64) -> Changed<u64> {
        let limit = u64::try_from(worker.lease_until).unwrap_or(0);
        let mut count = 0;
        for row in self.rows().values_mut() {
            if row.status == JobStatus::Running
                && row.worker == worker.name
                && row.lease_until.is_some_and(|until| until <= limit)
            {
                row.lease_until = Some(now);
                count += 1;
            }
        }
        (count, self.reclaim(now))
    }

    pub(super) fn unnotified(
        &self,
        only: Option<&[JobId]>,
        silence: Duration,
        now: u64,
    ) -> Vec<Unnotified> {
        let rows = self.rows();
        let pending = rows.values().filter(|row| {
            !row.is_notified
                && only
                    .map_or(row.updated + millis(silence) <= now, |ids| ids.contains(&row.new.id))
        });
        pending.map(|row| Unnotified { job: row.job(), attempt: row.attempt }).collect()
    }

    pub(super) fn mark_notified(&self, notified: &Unnotified) {
        let mut rows = self.rows();
        if let Some(row) = rows.get_mut(&notified.job.id)
            && row.attempt == notified.attempt
            && row.status == notified.job.status
        {
            row.is_notified = true;
        }
    }

    /// The number of leases of running jobs that have expired.
    pub(super) fn reclaimed(&self) -> u64 {
        self.reclaimed.load(Ordering::Relaxed)
    }

    /// The jobs that have not ended, except those that wait for their client.
    pub(super) fn unfinished(&self) -> usize {
        let rows = self.rows();
        let waits = |row: &&Row| matches!(row.status, JobStatus::Queued | JobStatus::Running);
        rows.values().filter(waits).count()
    }
}

fn claimed(
    row: &mut Row,
    claim: &Claim<'_>,
    children: BTreeMap<String, JobOutcome>,
    now: u64,
) -> Claimed {
    row.attempt += 1;
    row.status = JobStatus::Running;
    claim.worker.clone_into(&mut row.worker);
    row.lease_until = Some(now + millis(claim.lease));
    row.updated = now;
    let new = &row.new;
    Claimed {
        attempt: Attempt {
            id: new.id.clone(),
            number: row.attempt,
            last: row.failures + 1 >= new.attempts,
            timeout: new.timeout,
            call: new.call.clone(),
            answers: row.answers.clone(),
            children,
            follows_loss: row.lost_attempt == Some(row.attempt - 1),
            progress: row.progress.clone(),
            checkpoint: row.checkpoint.clone(),
        },
        lease: Lease {
            job: new.id.clone(),
            number: row.attempt,
            owner: new.call.caller.user.as_str().to_owned(),
            tool: new.call.tool.clone(),
            failures: row.failures,
            max_attempts: new.attempts,
            keep: RESULT_TTL,
            parent: row.parent().cloned(),
            notifies_client: row.notifies_client(),
        },
        waited: Duration::from_millis(now.saturating_sub(row.run_at)),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
