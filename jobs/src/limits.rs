//! Limits of jobs, with their reasons.

use std::time::Duration;

/// How long a worker may go without renewing a lease before another worker reclaims the job. Must
/// cover a suspended process, a slow disk or a restart of the database. After a crash of the process
/// the client usually waits less (`lost_workers` in the crate `runner`); after that of a machine, or
/// while Redis cannot be reached, this long.
pub const LEASE: Duration = Duration::from_secs(30);

/// How often a job may be claimed for any reason: ends a job that asks questions, or is released,
/// again and again.
pub const MAX_CLAIMS: u32 = 1_000;

/// How long a job waits for its client to answer: a user may answer on the next day.
pub const QUESTION_TIMEOUT: Duration = Duration::from_hours(24);

/// How long a result is kept if the client does not request a duration.
pub const RESULT_TTL: Duration = Duration::from_hours(24);

/// The shortest and the longest duration for which a result is kept at a client's request.
pub const RESULT_TTL_BOUNDS: (Duration, Duration) =
    (Duration::from_mins(1), Duration::from_hours(7 * 24));

/// The maximum size of a result, in bytes. A tool that returns more stores it as a resource and
/// links to it.
pub const MAX_RESULT: usize = 1024 * 1024;

/// The maximum size of a checkpoint, in bytes: checkpoints are written often.
pub const MAX_CHECKPOINT: usize = 256 * 1024;

/// The maximum length of a stored progress message or error, in characters.
pub(crate) const MAX_TEXT: usize = 1_000;
