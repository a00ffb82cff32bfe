//! The storage layer on both databases: notes and their access control, search, users, signing keys and the
//! schema. Every test runs on SQLite and on Postgres.

#![expect(clippy::unwrap_used, reason = "a story that does not go on as told is a failure")]

mod keys;
mod notes;
mod plans;
mod schema;
mod search;
mod search_old_rows;
mod search_table;
mod users;
mod world;

pub(crate) use world::{World, draft, on_both, user};
