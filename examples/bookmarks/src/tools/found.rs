//! Bookmarks as a result.

use schemars::JsonSchema;
use serde::Serialize;

use crate::store::Bookmark;

/// The maximum number of bookmarks in one result.
pub(super) const MAX_RESULTS: u64 = 50;

/// Bookmarks as a result.
#[derive(Serialize, JsonSchema)]
pub(super) struct Found {
    /// The bookmarks, newest first; at most 50.
    pub(super) bookmarks: Vec<Bookmark>,
}
