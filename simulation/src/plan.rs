//! A schedule: what clients do, which faults happen, and how often messages are delayed or lost. Made
//! from a seed; parts of it can be left out to shorten a failing schedule.

use std::{collections::BTreeSet, fmt};

use super::random::Random;

/// How often something happens to a message, in one of 1000 messages.
#[derive(Clone, Debug, Default)]
pub(super) struct Rates {
    /// An operation on a store, or a part of a response, is delayed.
    pub(super) delay: u64,
    /// The longest delay in milliseconds.
    pub(super) longest: u64,
    /// A store refuses an operation, without an effect.
    pub(super) refuse: u64,
    /// An operation takes effect and its answer is lost.
    pub(super) lose_answer: u64,
    /// A signal is not received by one of the processes.
    pub(super) lose_signal: u64,
    /// A signal is delayed.
    pub(super) delay_signal: u64,
    /// A request of a client does not arrive.
    pub(super) lose_request: u64,
    /// The connection of a response is cut.
    pub(super) cut: u64,
}

impl Rates {
    /// Whether repeating an operation a few times suffices.
    fn loses_little(&self) -> bool {
        self.refuse + self.lose_answer <= 20
    }
}

/// A tool of the simulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ToolKind {
    /// Only reads: reports progress, and may run again.
    Steps,
    /// Takes effect, and must not run twice.
    Effect,
    /// Asks a question, then takes effect.
    Ask,
    /// Asks two questions at once, then takes effect.
    AskTwo,
    /// Changes a resource.
    Touch,
    /// A job that takes effect in the transaction of a checkpoint.
    Job,
    /// A job that asks a question.
    JobAsk,
    /// A job that starts child jobs and waits for them, then takes effect.
    Family,
}

impl ToolKind {
    /// The tools that run in the instance.
    const INLINE: [Self; 5] = [Self::Steps, Self::Effect, Self::Ask, Self::AskTwo, Self::Touch];

    /// The tools that run in a worker; one that is listed twice is chosen twice as often.
    const JOBS: [Self; 5] = [Self::Job, Self::Job, Self::JobAsk, Self::JobAsk, Self::Family];

    /// Whether the tool runs in a worker.
    pub(super) fn is_job(self) -> bool {
        matches!(self, Self::Job | Self::JobAsk | Self::Family)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Steps => "steps",
            Self::Effect => "effect",
            Self::Ask => "ask",
            Self::AskTwo => "ask_two",
            Self::Touch => "touch",
            Self::Job => "job",
            Self::JobAsk => "job_ask",
            Self::Family => "family",
        }
    }

    /// The number of questions that the tool asks.
    pub(super) fn questions(self) -> usize {
        match self {
            Self::Ask | Self::JobAsk => 1,
            Self::AskTwo => 2,
            _ => 0,
        }
    }

    /// Whether a call takes effect, at most once.
    pub(super) fn has_effect(self) -> bool {
        !matches!(self, Self::Steps | Self::Touch)
    }
}

/// The revision of the protocol that a client uses in one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Era {
    /// 2025-11-25: with a session.
    Legacy,
    /// 2026-07-28: every request is complete.
    Modern,
}

/// What a client does in one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Calls a tool, and follows the call to its end.
    Call(ToolKind),
    /// Calls a tool, and cancels the call after this time in milliseconds. A legacy client counts
    /// from the call or, if that is shorter than [`QUICK_CANCEL`], from the first event of its stream.
    Cancel(ToolKind, u64),
    /// Opens a stream for changes, and follows it for this time in milliseconds.
    Listen(u64),
    /// Calls a job tool as a task, and polls the task.
    Task(ToolKind),
    /// Calls a job tool as a task, and cancels the task after this time in milliseconds.
    CancelTask(ToolKind, u64),
    /// Sends `ping`, or `server/discover`.
    Ping,
    /// Waits until all calls so far have ended.
    Wait,
    /// Another user presents the ids of this client.
    Intrude,
    /// Ends the session and starts another. A modern client has no session and does nothing.
    StartAgain,
}

/// A step of a client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    /// The number of the part, for shortening.
    pub(super) part: u64,
    pub(super) client: usize,
    /// The pause before the step in milliseconds.
    pub(super) pause: u64,
    pub(super) era: Era,
    pub(super) action: Action,
}

/// Something that happens to a process or a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FaultKind {
    /// An instance dies, and another one starts after this time.
    Kill { after: u64 },
    /// An instance dies at an operation on a store, before or after its effect.
    KillAt { operation: u64, after_effect: bool },
    /// An instance stands still.
    Freeze { length: u64 },
    /// An instance shuts down, and another one starts.
    Drain,
    /// The store is unavailable.
    StoreDown { length: u64 },
    /// The store loses its data.
    StoreEmpty,
    /// The store answers slowly.
    StoreSlow { length: u64 },
    /// An instance loses its connection for signals, and notices it.
    Deaf { length: u64 },
    /// A worker dies, and another one starts after this time.
    KillWorker { after: u64 },
    /// A worker dies at an operation, before or after its effect.
    KillWorkerAt { operation: u64, after_effect: bool },
    /// A worker stands still.
    FreezeWorker { length: u64 },
    /// A worker shuts down, and another one starts.
    DrainWorker,
    /// The database is unavailable.
    DatabaseDown { length: u64 },
}

/// A fault of a schedule.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    /// The number of the part, for shortening.
    pub(super) part: u64,
    /// When, in milliseconds.
    pub(super) at: u64,
    pub(super) instance: usize,
    pub(super) kind: FaultKind,
}

/// A schedule.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) instances: usize,
    /// 0: the schedule has no jobs.
    pub(super) workers: usize,
    /// The most unfinished jobs of a user.
    pub(super) quota: usize,
    pub(super) clients: usize,
    pub(super) rates: Rates,
    pub(super) steps: Vec<Step>,
    pub(super) faults: Vec<Fault>,
}

/// The most unfinished jobs of a user in schedules in which users do not reach it.
const LARGE_QUOTA: usize = 1_000;

/// The total length of the outages of the database, in milliseconds, that no lease of a job notices:
/// less than the time from its last renewal to its end, with clocks that differ.
const SHORT_OUTAGE: u64 = 6_000;

/// A cancellation this soon, in milliseconds, meets a call that has just become a stream.
pub(super) const QUICK_CANCEL: u64 = 20;

/// The number of the part for the first fault; steps have smaller ones.
const FIRST_FAULT: u64 = 1_000;

/// The part that stands for all delays and losses of messages.
pub(super) const RATES_PART: u64 = 2_000;

impl Plan {
    /// The schedule of a seed, without some of its parts.
    pub(super) fn new(seed: u64, without: &BTreeSet<u64>) -> Self {
        let mut random = Random::of_part(seed, 0);
        let clients = usize::try_from(random.between(1, 3)).unwrap_or(1);
        let has_jobs = random.chance(350);
        let mut plan = Self {
            seed,
            workers: if has_jobs { usize::try_from(random.between(1, 2)).unwrap_or(1) } else { 0 },
            quota: if random.chance(250) { random.index(4) + 2 } else { LARGE_QUOTA },
            instances: usize::try_from(random.between(2, 3)).unwrap_or(2),
            clients,
            rates: rates(&mut random),
            steps: steps(&mut random, clients, has_jobs),
            faults: faults(&mut random, has_jobs),
        };
        plan.steps.retain(|step| !without.contains(&step.part));
        plan.faults.retain(|fault| !without.contains(&fault.part));
        if without.contains(&RATES_PART) {
            plan.rates = Rates::default();
        }
        plan
    }

    /// Whether no call may be lost: no process dies, stands still or shuts down, the store keeps its
    /// data, and so few messages are lost that repeating them suffices.
    pub(super) fn loses_no_call(&self) -> bool {
        let is_harmless =
            |kind| matches!(kind, FaultKind::StoreDown { .. } | FaultKind::Deaf { .. });
        self.faults.iter().all(|fault| is_harmless(fault.kind)) && self.rates.loses_little()
    }

    /// Whether no lease of a job expires. Short outages of the database are no reason: leases are
    /// renewed before and after them, and results are written after them.
    pub(super) fn loses_no_job(&self) -> bool {
        let mut outages = 0;
        for fault in &self.faults {
            match fault.kind {
                FaultKind::StoreDown { .. } | FaultKind::Deaf { .. } => {}
                FaultKind::DatabaseDown { length } => outages += length,
                _ => return false,
            }
        }
        let refused = if outages > 0 { 0 } else { 8 };
        // The jobs of a claim whose answer is lost belong to no worker until their leases expire.
        outages <= SHORT_OUTAGE && self.rates.refuse <= refused && self.rates.lose_answer == 0
    }

    /// Whether every operation on the store succeeds, if it is repeated for some seconds.
    pub(super) fn has_reliable_store(&self) -> bool {
        let is_harmful = |kind| {
            matches!(
                kind,
                FaultKind::StoreDown { .. }
                    | FaultKind::StoreSlow { .. }
                    | FaultKind::StoreEmpty
                    | FaultKind::DatabaseDown { .. }
                    | FaultKind::Deaf { .. }
            )
        };
        !self.faults.iter().any(|fault| is_harmful(fault.kind)) && self.rates.loses_little()
    }

    /// Whether a user may have too many jobs.
    pub(super) fn has_small_quota(&self) -> bool {
        self.quota < LARGE_QUOTA
    }

    /// Whether no subscription is interrupted. After an interruption, clients are told of changes that
    /// may have happened.
    pub(super) fn keeps_signals(&self) -> bool {
        let is_interruption = |kind| {
            matches!(
                kind,
                FaultKind::StoreDown { .. } | FaultKind::StoreEmpty | FaultKind::Deaf { .. }
            )
        };
        !self.faults.iter().any(|fault| is_interruption(fault.kind))
    }

    /// Whether nothing delays a response by more than the network does.
    pub(super) fn is_prompt(&self) -> bool {
        let Rates { refuse, lose_answer, lose_signal, lose_request, cut, .. } = self.rates;
        self.faults.is_empty() && refuse + lose_answer + lose_signal + lose_request + cut == 0
    }

    /// The numbers of all parts.
    pub(super) fn parts(&self) -> Vec<u64> {
        let steps = self.steps.iter().map(|step| step.part);
        let faults = self.faults.iter().map(|fault| fault.part);
        faults.chain([RATES_PART]).chain(steps).collect()
    }
}

/// Each kind of fault happens in a part of the schedules only: with all of them at once, little would
/// ever succeed.
fn rates(random: &mut Random) -> Rates {
    let mut sometimes = |rate: u64, most: u64| {
        let is_on = random.chance(rate);
        let drawn = random.between(1, most);
        if is_on { drawn } else { 0 }
    };
    Rates {
        delay: sometimes(800, 400),
        longest: sometimes(1_000, 60),
        refuse: sometimes(250, 60),
        lose_answer: sometimes(300, 60),
        lose_signal: sometimes(300, 300),
        delay_signal: sometimes(400, 300),
        lose_request: sometimes(200, 60),
        cut: sometimes(400, 150),
    }
}

fn steps(random: &mut Random, clients: usize, has_jobs: bool) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut part = 0;
    for client in 0..clients {
        // Some clients use one revision only.
        let modern = [0, 500, 1_000][random.index(3)];
        for _ in 0..random.between(3, 8) {
            let era = if random.chance(modern) { Era::Modern } else { Era::Legacy };
            let is_job = has_jobs && random.chance(500);
            let tools = if is_job { ToolKind::JOBS } else { ToolKind::INLINE };
            let tool = tools[random.index(tools.len())];
            let action = match random.below(100) {
                0..20 if is_job => Action::Task(tool),
                20..26 if is_job => Action::CancelTask(tool, random.below(5_000)),
                0..55 => Action::Call(tool),
                55..67 => {
                    let is_quick = random.chance(if is_job { 600 } else { 300 });
                    let latest = if is_quick { QUICK_CANCEL } else { 4_000 };
                    Action::Cancel(tool, random.below(latest))
                }
                67..75 => Action::Listen(random.between(100, 20_000)),
                75..81 => Action::Ping,
                81..89 => Action::Wait,
                89..96 => Action::Intrude,
                _ => Action::StartAgain,
            };
            let pause = if random.chance(500) { 0 } else { random.below(2_500) };
            steps.push(Step { part, client, pause, era, action });
            part += 1;
        }
    }
    steps
}

fn faults(random: &mut Random, has_jobs: bool) -> Vec<Fault> {
    let count = if random.chance(150) { 0 } else { random.between(1, 5) };
    let kinds = random.next();
    let mut faults = Vec::new();
    for index in 0..count {
        let kind = loop {
            let kind = random.below(8);
            if kinds >> kind & 1 == 1 || kinds.trailing_zeros() > 7 {
                break kind;
            }
        };
        let is_of_worker = has_jobs && random.chance(400);
        let length = if random.chance(300) { random.below(500) } else { random.below(18_000) };
        let kind = match kind {
            0 if is_of_worker => FaultKind::KillWorker { after: length },
            1 | 2 if is_of_worker => FaultKind::KillWorkerAt {
                operation: random.below(30),
                after_effect: random.chance(500),
            },
            // Sometimes for longer than the lease of a job.
            3 | 4 if is_of_worker => FaultKind::FreezeWorker { length: 4 * length },
            5 if is_of_worker => FaultKind::DrainWorker,
            6 if is_of_worker => FaultKind::DatabaseDown { length },
            0 => FaultKind::Kill { after: length },
            1 | 2 => {
                FaultKind::KillAt { operation: random.below(25), after_effect: random.chance(500) }
            }
            3 | 4 => FaultKind::Freeze { length },
            5 => FaultKind::Drain,
            6 => match random.below(5) {
                0 => FaultKind::StoreEmpty,
                1 => FaultKind::StoreSlow { length },
                _ => FaultKind::StoreDown { length },
            },
            _ => FaultKind::Deaf { length },
        };
        let at = random.below(6_000);
        faults.push(Fault { part: FIRST_FAULT + index, at, instance: random.index(3), kind });
    }
    faults.sort_by_key(|fault| fault.at);
    faults
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, instances, workers, quota, clients, rates, steps, faults } = self;
        writeln!(
            f,
            "seed {seed}: {instances} instances, {workers} workers, {clients} clients, at most \
             {quota} jobs of each, {rates:?}"
        )?;
        for Fault { part, at, instance, kind } in faults {
            writeln!(f, "  part {part}: at {at} ms, instance {instance}: {kind:?}")?;
        }
        for Step { part, client, pause, era, action } in steps {
            writeln!(f, "  part {part}: client {client}, after {pause} ms: {era:?} {action:?}")?;
        }
        Ok(())
    }
}
