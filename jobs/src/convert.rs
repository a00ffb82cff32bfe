//! Conversions between the types of callers, rows and signals.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use mcp::StoreError;
use platform::db::Failure;

use crate::limits::MAX_TEXT;

/// Converts a failure for the engine, which only needs to know that the store is unavailable; the
/// source is for the log.
pub(crate) fn store_error(failure: Failure) -> StoreError {
    StoreError::new(failure.dependency(), failure)
}

/// The failure for a row that this program did not write, or that a newer version of it wrote.
pub(crate) fn unreadable(what: &str, error: impl Into<anyhow::Error>) -> Failure {
    Failure::Internal(error.into().context(format!("{what} of a job cannot be read")))
}

pub(crate) fn later(now: DateTime<Utc>, by: Duration) -> DateTime<Utc> {
    now + TimeDelta::from_std(by).unwrap_or(TimeDelta::MAX / 4)
}

/// Milliseconds, as the database stores them.
pub(crate) fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// Truncates a text to [`MAX_TEXT`] characters, and replaces NUL, which Postgres cannot store.
pub(crate) fn shortened(text: &str) -> String {
    let without_nul = |character: char| if character == '\0' { '\u{fffd}' } else { character };
    text.chars().take(MAX_TEXT).map(without_nul).collect()
}

pub(crate) fn internal(error: impl Into<anyhow::Error>) -> Failure {
    Failure::Internal(error.into())
}
