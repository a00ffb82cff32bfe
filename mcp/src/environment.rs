//! What an engine takes from its process: random numbers and the executor of its tasks.

use std::{fmt, sync::Arc};

use futures_util::future::BoxFuture;
use tokio_util::task::TaskTracker;

use crate::id::{JobId, SessionId, StreamId, encoded_id};

/// Replaces the random numbers and the executor of an engine, for a deterministic simulation.
pub trait Simulated: Send + Sync {
    /// Fills a buffer with random bytes.
    fn fill(&self, bytes: &mut [u8]);
    /// Runs a task in the background.
    fn spawn(&self, task: BoxFuture<'static, ()>);
}

/// The random numbers and the executor of an engine. By default those of the process: its random
/// number generator and the current tokio runtime.
#[derive(Clone, Default)]
pub struct Environment(Option<Arc<dyn Simulated>>);

impl Environment {
    /// An environment with other random numbers and another executor.
    pub fn simulated(simulated: Arc<dyn Simulated>) -> Self {
        Self(Some(simulated))
    }

    /// Returns random bytes.
    pub(crate) fn random<const N: usize>(&self) -> [u8; N] {
        let Some(simulated) = &self.0 else {
            return rand::random();
        };
        let mut bytes = [0; N];
        simulated.fill(&mut bytes);
        bytes
    }

    /// Creates 128 random bits in URL-safe base64.
    pub(crate) fn id(&self) -> String {
        encoded_id(&self.random())
    }

    pub(crate) fn session_id(&self) -> SessionId {
        SessionId::from_bits(&self.random())
    }

    pub(crate) fn stream_id(&self) -> StreamId {
        StreamId::from_bits(&self.random())
    }

    pub(crate) fn job_id(&self) -> JobId {
        JobId::from_bits(&self.random())
    }

    /// Runs a task in the background.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        match &self.0 {
            None => drop(tokio::spawn(task)),
            Some(simulated) => simulated.spawn(Box::pin(task)),
        }
    }

    /// Runs a task in the background; the tracker counts it until it has ended.
    pub(crate) fn spawn_tracked(
        &self,
        tracker: &TaskTracker,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        self.spawn(tracker.track_future(task));
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Environment(simulated)" } else { "Environment" })
    }
}
