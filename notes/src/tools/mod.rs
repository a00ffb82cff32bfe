//! The tools, one per file.
//!
//! To add a tool, write a file like [`create`] and add it to [`ALL`]. `tools/list`, validation and
//! dispatch use the list.

mod create;
mod delete;
mod digest;
mod export;
mod get;
mod import;
mod list;
mod search;
mod stats;
mod summarize;
mod update;

use mcp::AnyTool;

use crate::State;

pub(crate) use self::{delete::DeleteNote, export::ExportNotes};

/// All tools, in the order of `tools/list`: those that a model needs first come first.
pub const ALL: &[&dyn AnyTool<State>] = &[
    &search::SearchNotes,
    &list::ListNotes,
    &get::GetNote,
    &create::CreateNote,
    &update::UpdateNote,
    &delete::DeleteNote,
    &stats::NoteStats,
    &summarize::SummarizeNotes,
    &digest::DigestNotes,
    &import::ImportNotes,
    &export::ExportNotes,
];
