//! The statements of notes on both databases: access control, search, query plans and the schema.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod notes;
mod plans;
mod schema;
mod search;
mod search_old_rows;
mod search_table;

use crate::world::{self, World, draft, on_both, user};
