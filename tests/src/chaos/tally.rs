//! What has happened, and what should not have.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

/// Counts and broken promises. Clones share everything.
#[derive(Clone, Debug, Default)]
pub struct Tally(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    counts: BTreeMap<&'static str, usize>,
    kept: usize,
    broken: Vec<String>,
    logs: Vec<String>,
}

/// How much of the log of a process is shown.
const LOG_TAIL: usize = 200;

impl Tally {
    /// How many promises were kept.
    pub fn kept(&self) -> usize {
        self.inner().kept
    }

    /// The promises that were broken.
    pub fn broken_promises(&self) -> Vec<String> {
        self.inner().broken.clone()
    }

    /// The ends of the logs of all processes, if a promise was broken.
    pub fn logs(&self) -> Vec<String> {
        self.inner().logs.clone()
    }

    /// How often this has happened.
    pub fn of(&self, what: &'static str) -> usize {
        self.inner().counts.get(what).copied().unwrap_or(0)
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
