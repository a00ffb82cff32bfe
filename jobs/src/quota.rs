//! The quota of one person's unfinished jobs: their number, and the total size of their arguments.
//!
//! Jobs are counted under a lock on the person, in the transaction that adds one, so instances that
//! enqueue at the same moment take turns and none exceeds the quota.

use std::fmt;

use mcp::{UserId, job::NotEnqueued};
use platform::{
    counted::{MEGABYTE, grouped},
    db::{Failure, dialect},
};
use sea_orm::ConnectionTrait;

/// The limits on one person's unfinished jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobQuota {
    /// The number of jobs.
    pub jobs: u64,
    /// Bytes of arguments and of answers given in advance.
    pub bytes: u64,
}

impl JobQuota {
    /// Creates a quota.
    pub const fn new(jobs: u64, megabytes: u64) -> Self {
        Self { jobs, bytes: megabytes.saturating_mul(MEGABYTE) }
    }
}

/// A person's unfinished jobs and their quota, such as “3 of 1,000 unfinished jobs, 2 of 64 MB”.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobUsage {
    /// Unfinished jobs, including children of other jobs.
    pub jobs: u64,
    /// Bytes of their arguments and of answers given in advance.
    pub bytes: u64,
    /// The limits.
    pub quota: JobQuota,
}

impl JobUsage {
    /// The error for a job that was refused: names the number of jobs if that limit is reached,
    /// otherwise the size.
    pub(super) fn refusal(&self) -> NotEnqueued {
        if self.jobs >= self.quota.jobs {
            return NotEnqueued::TooMany { limit: self.quota.jobs };
        }
        NotEnqueued::TooLarge { megabytes: self.quota.bytes / MEGABYTE }
    }
}

impl fmt::Display for JobUsage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { jobs, bytes, quota } = self;
        write!(
            f,
            "{} of {} unfinished jobs, {} of {} MB",
            grouped(*jobs),
            grouped(quota.jobs),
            grouped(bytes.div_ceil(MEGABYTE)),
            grouped(quota.bytes / MEGABYTE)
        )
    }
}

/// Counts a person's unfinished jobs.
pub async fn usage(
    db: &impl ConnectionTrait,
    owner: &UserId,
    quota: JobQuota,
) -> Result<JobUsage, Failure> {
    // octet_length does not read the values themselves: both databases know the length from the
    // row. Encrypted columns are base64, so three of four stored bytes count.
    const SQL: &str = "SELECT count(*) AS jobs,
        CAST(coalesce(sum(coalesce(octet_length(arguments), 0) + coalesce(octet_length(answers), 0)), 0)
            * 3 / 4 AS bigint) AS bytes
        FROM jobs WHERE owner_sub = $1 AND ended_at IS NULL";
    let rows = dialect::rows(db, SQL, [owner.as_str().into()]).await?;
    let count = |column| match rows.first() {
        Some(row) => row.try_get::<i64>("", column).map(|count| u64::try_from(count).unwrap_or(0)),
        None => Ok(0),
    };
    Ok(JobUsage { jobs: count("jobs")?, bytes: count("bytes")?, quota })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_limit_that_was_reached() {
        let usage = |jobs, bytes| JobUsage { jobs, bytes, quota: JobQuota::new(2, 8) };
        assert!(matches!(usage(2, 0).refusal(), NotEnqueued::TooMany { limit: 2 }));
        assert!(matches!(usage(1, 8_000_000).refusal(), NotEnqueued::TooLarge { megabytes: 8 }));
    }

    #[test]
    fn usage_is_shown_with_its_limits() {
        let usage = JobUsage { jobs: 3, bytes: 1_000_001, quota: JobQuota::new(1_000, 64) };
        assert_eq!(usage.to_string(), "3 of 1,000 unfinished jobs, 2 of 64 MB");
    }
}
