//! Counts of events, and the violated guarantees.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

/// Counts of events and violated guarantees. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Tally(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    counts: BTreeMap<&'static str, usize>,
    kept: usize,
    broken: Vec<String>,
    logs: Vec<String>,
}

/// Number of log lines of a process that are printed.
const LOG_TAIL: usize = 200;

impl Tally {
    /// Number of guarantees that were kept.
    pub fn kept(&self) -> usize {
        self.inner().kept
    }

    /// The violated guarantees.
    pub fn broken_promises(&self) -> Vec<String> {
        self.inner().broken.clone()
    }

    /// The ends of the logs of all processes, if a guarantee was violated.
    pub fn logs(&self) -> Vec<String> {
        self.inner().logs.clone()
    }

    /// The number of events of this kind.
    pub fn of(&self, what: &'static str) -> usize {
        self.inner().counts.get(what).copied().unwrap_or(0)
    }

    /// Adds the counts and violations of another tally.
    pub(crate) fn absorb(&self, other: &Self) {
        let theirs = other.inner();
        let mut ours = self.inner();
        for (what, count) in &theirs.counts {
            *ours.counts.entry(what).or_default() += count;
        }
        ours.kept += theirs.kept;
        ours.broken.extend(theirs.broken.iter().cloned());
    }

    pub(super) fn count(&self, what: &'static str) {
        self.add(what, 1);
    }

    pub(super) fn add(&self, what: &'static str, times: usize) {
        *self.inner().counts.entry(what).or_default() += times;
    }

    pub(super) fn promise_kept(&self) {
        self.inner().kept += 1;
    }

    pub(super) fn broken(&self, what: String) {
        self.inner().broken.push(what);
    }

    pub(super) fn has_broken(&self) -> bool {
        !self.inner().broken.is_empty()
    }

    pub(super) fn keep_log(&self, whose: &str, log: &str) {
        let lines: Vec<&str> = log.lines().collect();
        let tail = &lines[lines.len().saturating_sub(LOG_TAIL)..];
        self.inner().logs.push(format!("{whose}:\n{}", tail.join("\n")));
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, count) in &self.inner().counts {
            writeln!(f, "{count:>7}  {what}")?;
        }
        Ok(())
    }
}
