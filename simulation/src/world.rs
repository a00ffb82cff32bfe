//! What all parts of a schedule share: time, trace, recorded effects and violations.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep};

use super::{
    plan::Rates,
    properties::{Property, Violation},
    random::Random,
};

/// The simulated Unix time at the beginning, in seconds.
pub(super) const EPOCH: i64 = 1_800_000_000;

/// More operations than any schedule needs that comes to an end.
const MAX_OPERATIONS: u64 = 200_000;

/// The state of one schedule.
pub(super) struct World {
    start: Instant,
    pub(super) rates: Rates,
    /// Whether a trace is kept.
    is_traced: bool,
    /// The number of operations on stores and on the queue.
    operations: AtomicU64,
    inner: Mutex<Inner>,
}

struct Inner {
    random: Random,
    trace: Vec<(u64, String)>,
    violations: Vec<Violation>,
    /// By key: when, and the value.
    effects: BTreeMap<String, Vec<(u64, String)>>,
    /// When the time of the faults was over, in milliseconds.
    calm_since: Option<u64>,
    /// Whether the schedule is over.
    is_over: bool,
}

impl World {
    pub(super) fn new(seed: u64, rates: Rates, is_traced: bool) -> Arc<Self> {
        let inner = Inner {
            random: Random::of_part(seed, 1),
            trace: Vec::new(),
            violations: Vec::new(),
            effects: BTreeMap::new(),
            calm_since: None,
            is_over: false,
        };
        Arc::new(Self {
            start: Instant::now(),
            rates,
            is_traced,
            operations: AtomicU64::new(0),
            inner: Mutex::new(inner),
        })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The simulated time in milliseconds.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Counts an operation. Lets time pass if there are too many, so that a schedule ends in which
    /// something is repeated without a pause.
    pub(super) async fn count_operation(&self) {
        let before = self.operations.fetch_add(1, Ordering::Relaxed);
        if before == MAX_OPERATIONS {
            let what = format!("more than {MAX_OPERATIONS} operations");
            self.violated(Property::EveryWaitEnds, what);
        }
        if before >= MAX_OPERATIONS {
            pass(1_000).await;
        }
    }

    /// Adds a line to the trace.
    pub(super) fn note(&self, line: impl FnOnce() -> String) {
        if self.is_traced {
            let entry = (self.now(), line());
            self.inner().trace.push(entry);
        }
    }

    /// Uses the random numbers of the network and the stores.
    pub(super) fn draw<T>(&self, with: impl FnOnce(&mut Random) -> T) -> T {
        with(&mut self.inner().random)
    }

    pub(super) fn violated(&self, property: Property, what: String) {
        let at = self.now();
        self.note(|| format!("VIOLATED {property}: {what}"));
        self.inner().violations.push(Violation { property, what, at });
    }

    /// Whether the time of the faults is over.
    pub(super) fn is_calm(&self) -> bool {
        self.inner().calm_since.is_some()
    }

    /// Whether the time of the faults has been over for longer than this, in milliseconds.
    pub(super) fn is_calm_for(&self, time: u64) -> bool {
        let now = self.now();
        self.inner().calm_since.is_some_and(|since| now > since + time)
    }

    /// Ends the time of the faults.
    pub(super) fn calm(&self) {
        let now = self.now();
        self.inner().calm_since.get_or_insert(now);
        self.note(|| "no more faults".to_owned());
    }

    /// Whether the schedule is over, so that nothing is to be repeated any more.
    pub(super) fn is_over(&self) -> bool {
        self.inner().is_over
    }

    /// Ends the schedule.
    pub(super) fn end(&self) {
        self.inner().is_over = true;
    }

    /// Records an effect of a tool.
    pub(super) fn effect(&self, key: &str, value: String) {
        self.note(|| format!("effect {key} = {value}"));
        let now = self.now();
        self.inner().effects.entry(key.to_owned()).or_default().push((now, value));
    }

    /// The recorded effects with this key.
    pub(super) fn effects(&self, key: &str) -> Vec<String> {
        let inner = self.inner();
        let effects = inner.effects.get(key).into_iter().flatten();
        effects.map(|(_, value)| value.clone()).collect()
    }

    /// When the last effect with this key was recorded, in milliseconds.
    pub(super) fn last_effect(&self, key: &str) -> Option<u64> {
        self.inner().effects.get(key)?.last().map(|(at, _)| *at)
    }

    pub(super) fn violations(&self) -> Vec<Violation> {
        self.inner().violations.clone()
    }

    /// The trace as text.
    pub(super) fn trace(&self) -> String {
        let mut text = String::new();
        for (at, line) in &self.inner().trace {
            writeln!(text, "{at:>8} {line}").expect("a String accepts text");
        }
        text
    }
}

/// Lets simulated time pass.
#[expect(clippy::disallowed_methods, reason = "the time is simulated")]
pub(super) async fn pass(milliseconds: u64) {
    if milliseconds > 0 {
        sleep(Duration::from_millis(milliseconds)).await;
    }
}
