//! The tools, one per file: contract, code and tests.
//!
//! To add one, write its file after the model of [`create`] and name it in [`ALL`]. Nothing else
//! changes: web lists, validates and routes from the list.

mod create;
mod delete;
mod digest;
mod export;
mod get;
mod import;
mod list;
mod progress;
mod search;
mod summarize;
mod update;

use mcp::AnyTool;

use crate::State;

/// Every tool, in the order clients see them: what a model needs first comes first.
pub const ALL: &[&dyn AnyTool<State>] = &[
    &search::SearchNotes,
    &list::ListNotes,
    &get::GetNote,
    &create::CreateNote,
    &update::UpdateNote,
    &delete::DeleteNote,
    &summarize::SummarizeNotes,
    &digest::DigestNotes,
    &import::ImportNotes,
    &export::ExportNotes,
];
