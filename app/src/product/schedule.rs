//! Schedules: periodic work. Each run is done by one of the workers.

use std::{fmt, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use platform::db::Failure;

use super::state::{AnyState, State};

/// A schedule. Running it twice must be safe.
#[derive(Clone, Debug)]
pub struct Schedule<Step> {
    /// The name, for logs, metrics and the command `once` of the worker.
    pub name: &'static str,
    /// The cron expression: second, minute, hour, day of the month, month, day of the week; in UTC.
    pub when: &'static str,
    /// What it does, in words.
    pub what: &'static str,
    /// Why it runs at this time, in words.
    pub why: &'static str,
    /// The minimum time between two runs: shorter than the interval of the cron expression, and
    /// longer than the clocks of workers differ.
    pub spacing: Duration,
    /// Does a limited part of the work.
    pub step: Step,
}

impl<Step> Schedule<Step> {
    /// Returns the same schedule with another step.
    #[must_use]
    pub fn with_step<Other>(&self, step: Other) -> Schedule<Other> {
        let &Self { name, when, what, why, spacing, .. } = self;
        Schedule { name, when, what, why, spacing, step }
    }
}

/// The result of a step of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// The number of items that were processed.
    pub count: u64,
    /// Whether there may be more to do now.
    pub more: bool,
}

/// The step of a schedule of a product with this state.
pub type ProductStep<S> = for<'a> fn(&'a S) -> BoxFuture<'a, Result<Done, Failure>>;

/// The step of a schedule, without the type of the state of its product.
#[derive(Clone)]
pub struct BoundStep(Arc<ErasedStep>);

type ErasedStep =
    dyn for<'a> Fn(&'a AnyState) -> BoxFuture<'a, Result<Done, Failure>> + Send + Sync;

impl BoundStep {
    pub(super) fn new<S: State>(step: ProductStep<S>) -> Self {
        Self(Arc::new(move |state| step(state.of())))
    }

    /// Runs the step with the state of this process.
    pub async fn run(&self, state: &AnyState) -> Result<Done, Failure> {
        (self.0)(state).await
    }
}

impl fmt::Debug for BoundStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BoundStep")
    }
}
