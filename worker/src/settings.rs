//! Settings of a worker.

use std::time::Duration;

use app::config::Config;
use platform::ending;
use runner::ANNOUNCED_PREFIX;

/// The poll interval, and so the maximum delay after a lost signal.
pub const POLL: Duration = Duration::from_secs(2);

/// How long a worker in a separate process may fail to query the queue before it ends, so that the
/// platform starts another one. Longer than a restart of the database.
pub const STALL_LIMIT: Duration = Duration::from_mins(1);

/// The settings of one worker.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The name in the table of jobs: unique, and beginning with [`ANNOUNCED_PREFIX`].
    pub name: String,
    /// The number of slots: how many jobs run at once.
    pub concurrency: u32,
    /// The lease of a claimed job.
    pub lease: Duration,
    /// The poll interval.
    pub poll: Duration,
    /// The time for an orderly shutdown.
    pub shutdown_timeout: Duration,
    /// How long the worker may fail to query the queue before it ends with an error. `None`:
    /// unlimited, for a worker that shares its process with a web instance.
    pub stall_limit: Option<Duration>,
}

impl Settings {
    /// The settings from the environment, with a unique name.
    pub fn of(config: &Config) -> Self {
        Self {
            name: format!("{ANNOUNCED_PREFIX}{}-{:08x}", std::process::id(), rand::random::<u32>()),
            concurrency: config.worker.concurrency,
            lease: jobs::LEASE,
            poll: POLL,
            shutdown_timeout: ending::work_limit(config.shutdown_timeout),
            stall_limit: None,
        }
    }
}
