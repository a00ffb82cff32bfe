//! Metrics and the health of a worker.

use std::time::Duration;

use app::{
    App,
    metrics::{self, STOPPED},
};
use runner::{ClaimFound, End, Observer};

use crate::health::Pulse;

/// Counts what happens in a worker.
pub(crate) struct Measured {
    pub(crate) app: App,
    pub(crate) pulse: Pulse,
}

impl Observer for Measured {
    fn claimed(&self, found: ClaimFound) {
        metrics::WORKER_CLAIMS.increment([match found {
            ClaimFound::Nothing => "nothing",
            ClaimFound::Some => "some",
            ClaimFound::NoAnswer => "no_answer",
        }]);
    }

    fn works(&self) {
        self.pulse.beat();
    }

    fn attempt_started(&self, waited: Duration) -> Box<dyn Send + Sync> {
        metrics::JOB_WAIT.observe([], waited);
        Box::new(metrics::WORKER_JOBS.hold([]))
    }

    fn attempt_ended(&self, tool: &str, end: Option<&End>, duration: Duration) {
        let name = end.map_or(STOPPED, End::name);
        metrics::JOB_ATTEMPT_DURATION.observe([self.app.jobs().tool_label(tool), name], duration);
    }
}
