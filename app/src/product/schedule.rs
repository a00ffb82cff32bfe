//! Schedules of a product.

use std::{fmt, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use platform::db::Failure;

use super::state::{AnyState, State};

/// A schedule of a product: work that one of all workers repeats at certain times. Running it twice
/// must be safe.
#[derive(Debug)]
pub struct Schedule<S: 'static> {
    /// The name, for logs, metrics and the command `once` of the worker.
    pub name: &'static str,
    /// The cron expression: second, minute, hour, day of the month, month, day of the week; in UTC.
    pub when: &'static str,
    /// What it does.
    pub what: &'static str,
    /// Why it runs at this time.
    pub why: &'static str,
    /// Minimum time between two runs: less than the interval of the cron expression, so that the
    /// clocks of workers may differ, and more than they differ.
    pub spacing: Duration,
    /// Does a bounded part of the work.
    pub step: for<'a> fn(&'a S) -> BoxFuture<'a, Result<Done, Failure>>,
}

/// The result of a step of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// The number of items that were processed.
    pub count: u64,
    /// Whether there may be more to do now.
    pub more: bool,
}

/// A step whose type of state is erased.
type BoundStep = dyn Fn(&AnyState) -> BoxFuture<'static, Result<Done, Failure>> + Send + Sync;

/// A schedule of any product.
#[derive(Clone)]
pub struct BoundSchedule {
    /// See [`Schedule::name`].
    pub name: &'static str,
    /// See [`Schedule::when`].
    pub when: &'static str,
    /// See [`Schedule::what`].
    pub what: &'static str,
    /// See [`Schedule::why`].
    pub why: &'static str,
    /// See [`Schedule::spacing`].
    pub spacing: Duration,
    step: Arc<BoundStep>,
}

impl BoundSchedule {
    /// Does a part of the work with the state of this process.
    pub async fn step(&self, state: &AnyState) -> Result<Done, Failure> {
        (self.step)(state).await
    }
}

impl fmt::Debug for BoundSchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BoundSchedule").field(&self.name).finish()
    }
}

impl<S: State> Schedule<S> {
    /// Binds the schedule to the state of a process.
    pub(super) fn bind(&self) -> BoundSchedule {
        let step = self.step;
        BoundSchedule {
            name: self.name,
            when: self.when,
            what: self.what,
            why: self.why,
            spacing: self.spacing,
            step: Arc::new(move |state: &AnyState| {
                let state = state.of::<S>().clone();
                Box::pin(async move { step(&state).await })
            }),
        }
    }
}
