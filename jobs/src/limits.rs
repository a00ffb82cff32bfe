//! Limits of jobs, with their reasons.

use std::time::Duration;

/// How long a worker may go without renewing a lease before another worker reclaims the job. Must
/// cover a garbage collection, a slow disk or a restarting database; meanwhile the person waits.
pub const LEASE: Duration = Duration::from_secs(30);

/// How often a job may be claimed for any reason: ends a job that asks, or is released, endlessly.
pub const MAX_CLAIMS: u32 = 1_000;

/// How long a job waits for its client to answer. Longer than a night.
pub const QUESTION_PATIENCE: Duration = Duration::from_hours(24);

/// How long a result is kept if the client does not say.
pub const KEPT: Duration = Duration::from_hours(24);

/// The shortest and the longest time for which a client may have a result kept.
pub const KEPT_BOUNDS: (Duration, Duration) =
    (Duration::from_mins(1), Duration::from_hours(7 * 24));

/// The maximum size of a result, in bytes. A tool with more to return stores it as a resource and
/// links to it.
pub const MAX_RESULT: usize = 1024 * 1024;

/// The maximum size of a checkpoint, in bytes: checkpoints are written often.
pub const MAX_CHECKPOINT: usize = 256 * 1024;

/// The maximum length of a stored progress message or error, in characters.
pub(crate) const MAX_TEXT: usize = 1_000;
