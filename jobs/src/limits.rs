//! Limits of jobs, each with its reason.

use std::time::Duration;

/// How long a worker may be silent about a job before another one takes it over. A garbage
/// collection, a slow disk or a database that restarts must fit in; the person waits for it.
pub const LEASE: Duration = Duration::from_secs(30);

/// How often a job may be claimed, whatever for: ends one that asks, or is released, for ever.
pub const MAX_CLAIMS: u32 = 1_000;

/// How long a job waits for its client to answer. Longer than a night.
pub const QUESTION_PATIENCE: Duration = Duration::from_hours(24);

/// How long a result is kept if the client does not say.
pub const KEPT: Duration = Duration::from_hours(24);

/// The shortest and the longest time that a client may have a result kept.
pub const KEPT_BOUNDS: (Duration, Duration) =
    (Duration::from_mins(1), Duration::from_hours(7 * 24));

/// Bytes of a result. What is larger belongs into a resource that the result links to.
pub const MAX_RESULT: usize = 1024 * 1024;

/// Bytes of a checkpoint: it is written often.
pub const MAX_CHECKPOINT: usize = 256 * 1024;

/// Characters that are kept of a progress message and of an error.
pub(crate) const MAX_TEXT: usize = 1_000;
