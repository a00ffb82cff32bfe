//! The tools, one per file.

mod add;
mod check;
mod delete;
mod list;
mod search;

use mcp::{AnyTool, ToolError};
use platform::db::{DATABASE, Failure};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{State, store::Bookmark};

/// Every tool, in the order in which clients see them.
pub(crate) const ALL: &[&dyn AnyTool<State>] = &[
    &search::SearchBookmarks,
    &list::ListBookmarks,
    &add::AddBookmark,
    &delete::DeleteBookmark,
    &check::CheckBookmarks,
];

/// The maximum number of bookmarks in one result.
const MAX_RESULTS: u64 = 50;

/// Bookmarks as a result.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Found {
    /// The bookmarks, newest first; at most 50.
    bookmarks: Vec<Bookmark>,
}

/// The error for a database that failed.
pub(crate) fn failed(error: impl Into<Failure>) -> ToolError {
    match error.into() {
        Failure::Internal(error) => ToolError::internal(error),
        failure => {
            tracing::error!(
                dependency = DATABASE, error = %failure,
                "Could not reach the bookmarks"
            );
            ToolError::Unavailable(
                "The bookmarks cannot be reached at the moment. Try again in a few seconds.".into(),
            )
        }
    }
}
