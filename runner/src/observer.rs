//! What happens in a runner, for metrics and probes.

use std::time::Duration;

use crate::queue::End;

/// What a query of the queue has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimFound {
    /// Jobs.
    Some,
    /// No job.
    Nothing,
    /// The queue did not answer.
    NoAnswer,
}

/// Is notified of what happens in a runner. Must not block.
pub trait Observer: Send + Sync {
    /// The queue was queried.
    fn claimed(&self, found: ClaimFound);
    /// The runner works: it has queried the queue, or all its slots are occupied.
    fn works(&self);
    /// An attempt starts, of a job that was due for `waited`. The result is dropped when the
    /// attempt has ended.
    fn attempt_started(&self, waited: Duration) -> Box<dyn Send + Sync>;
    /// An attempt of a tool has ended. `None`: it was stopped.
    fn attempt_ended(&self, tool: &str, end: Option<&End>, took: Duration);
}
