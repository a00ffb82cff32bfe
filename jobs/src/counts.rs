//! Counters of this process that have not been written to the database yet.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use entity::job_totals::What;

/// The key of a counter: what is counted, the tool, and the outcome.
pub(crate) type Counted = (What, &'static str, &'static str);

/// Jobs and attempts that ended in this process and have not been written to the database yet.
#[derive(Debug, Default)]
pub(crate) struct JobCounts(Mutex<BTreeMap<Counted, u64>>);

impl JobCounts {
    pub(crate) fn gathered(&self) -> MutexGuard<'_, BTreeMap<Counted, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an attempt with one of the outcomes in [`JOB_ENDS`](platform::metrics::JOB_ENDS).
    pub(crate) fn attempt(&self, tool: &'static str, end: &'static str) {
        *self.gathered().entry((What::Attempt, tool, end)).or_default() += 1;
    }

    /// Counts an ended job with one of the outcomes in
    /// [`JOB_OUTCOMES`](platform::metrics::JOB_OUTCOMES).
    pub(crate) fn job(&self, tool: &'static str, outcome: &'static str) {
        *self.gathered().entry((What::Job, tool, outcome)).or_default() += 1;
    }
}

/// Schedule runs of this process that have not been written to the database yet.
#[derive(Debug, Default)]
pub(crate) struct ScheduleCounts(Mutex<BTreeMap<&'static str, Runs>>);

/// How often a schedule ran and failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Runs {
    /// Successful runs.
    pub ran: u64,
    /// Runs that failed or could not start.
    pub failed: u64,
}

impl ScheduleCounts {
    pub(crate) fn gathered(&self) -> MutexGuard<'_, BTreeMap<&'static str, Runs>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add(&self, name: &'static str, more: Runs) {
        let mut gathered = self.gathered();
        let runs = gathered.entry(name).or_default();
        runs.ran += more.ran;
        runs.failed += more.failed;
    }
}
