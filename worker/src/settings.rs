//! What a worker is to be.

use std::time::Duration;

use service::{config::Config, ending, jobs};

/// How long a worker sleeps when nobody wakes it. A wake-up that was lost costs this much.
pub const POLL: Duration = Duration::from_secs(2);

/// How long a worker that runs in a process of its own may be unable to look at the queue before it
/// ends, so that its platform starts another one. A database restarts in less.
pub const STALL_LIMIT: Duration = Duration::from_mins(1);

/// What a worker is to be.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What it is called in the table, for people.
    pub name: String,
    /// How many jobs it runs at once.
    pub concurrency: u32,
    /// How long it may be silent about them.
    pub lease: Duration,
    /// How long it sleeps at most.
    pub poll: Duration,
    /// How long it may take to end.
    pub shutdown_timeout: Duration,
    /// How long it may be unable to look at the queue before it ends with an error; `None`: forever,
    /// for a worker that shares its process with an instance.
    pub stall_limit: Option<Duration>,
}

impl Settings {
    /// As the environment says, with a name of its own.
    pub fn of(config: &Config) -> Self {
        Self {
            name: format!("{}-{:08x}", std::process::id(), rand::random::<u32>()),
            concurrency: config.worker_concurrency,
            lease: jobs::LEASE,
            poll: POLL,
            shutdown_timeout: ending::work_limit(config.shutdown_timeout),
            stall_limit: None,
        }
    }
}
