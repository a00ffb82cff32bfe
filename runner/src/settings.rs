//! Settings of a runner.

use std::time::Duration;

/// The settings of one runner.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The name in the table of jobs: unique, and beginning with
    /// [`ANNOUNCED_PREFIX`](crate::ANNOUNCED_PREFIX).
    pub name: String,
    /// The number of slots: how many jobs run at once.
    pub concurrency: u32,
    /// The lease of a claimed job.
    pub lease: Duration,
    /// The poll interval.
    pub poll: Duration,
    /// How long running jobs may continue after a shutdown was requested.
    pub finish_timeout: Duration,
    /// How long releasing the remaining jobs may take after that.
    pub release_timeout: Duration,
    /// How long the last writes may take after that.
    pub close_timeout: Duration,
}
