//! The state of the sampler between two scrapes.

use metrics_process::Collector;
use redis::aio::MultiplexedConnection;
use tokio::{sync::Mutex, time::Instant};

/// Takes one sample at a time.
#[derive(Default)]
pub struct Sampler(pub(super) Mutex<State>);

#[derive(Default)]
pub(super) struct State {
    pub(super) at: Option<Instant>,
    pub(super) expensive_at: Option<Instant>,
    pub(super) redis: Option<MultiplexedConnection>,
    pub(super) redis_was_connected: bool,
    pub(super) process: Collector,
}

impl std::fmt::Debug for Sampler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sampler")
    }
}
