//! Errors for models.

use mcp::ToolError;
use platform::db::{DATABASE, Failure};

/// The error for a database that failed.
pub(crate) fn failed(error: impl Into<Failure>) -> ToolError {
    match error.into() {
        Failure::Internal(error) => ToolError::internal(error),
        failure => {
            tracing::error!(
                dependency = DATABASE, error = %failure,
                "Could not read or write bookmarks"
            );
            ToolError::Unavailable(
                "The bookmarks cannot be reached at the moment. Try again in a few seconds.".into(),
            )
        }
    }
}
