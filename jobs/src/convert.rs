//! Small conversions between what callers, rows and signals hold.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use mcp::StoreError;
use platform::db::Failure;

use crate::limits::MAX_TEXT;

/// The engine only needs to know that it got no answer; the source goes to its log.
pub(crate) fn away(failure: Failure) -> StoreError {
    StoreError::new(failure.dependency(), failure)
}

/// A row that we did not write, or that a newer version of this program did.
pub(crate) fn unreadable(what: &str, error: impl Into<anyhow::Error>) -> Failure {
    Failure::Internal(error.into().context(format!("{what} of a job cannot be read")))
}

pub(crate) fn later(now: DateTime<Utc>, by: Duration) -> DateTime<Utc> {
    now + TimeDelta::from_std(by).unwrap_or(TimeDelta::MAX / 4)
}

/// As the database keeps it.
pub(crate) fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// The beginning of a text, without what Postgres does not keep.
pub(crate) fn shortened(text: &str) -> String {
    text.chars().take(MAX_TEXT).map(|it| if it == '\0' { '\u{fffd}' } else { it }).collect()
}

pub(crate) fn internal(error: impl Into<anyhow::Error>) -> Failure {
    Failure::Internal(error.into())
}
