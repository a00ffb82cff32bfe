//! The tools, one per file.

mod add;
mod check;
mod delete;
mod found;
mod list;
mod search;

use mcp::AnyTool;

use crate::state::State;

/// Every tool, in the order in which clients see them.
pub(crate) const ALL: &[&dyn AnyTool<State>] = &[
    &search::SearchBookmarks,
    &list::ListBookmarks,
    &add::AddBookmark,
    &delete::DeleteBookmark,
    &check::CheckBookmarks,
];
