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
mod search;
mod summarize;
mod update;

use std::time::Duration;

use crate::note_id::NoteId;
use mcp::{AnyTool, RpcError, ToolError};
use platform::db::DATABASE;

use crate::{State, store::NotesError};

/// When a call that was refused because the same person's other calls use the database may come
/// again.
const BUSY_WAIT: Duration = Duration::from_secs(1);

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

/// A count as progress has it.
fn to_f64(count: impl TryInto<u32>) -> f64 {
    count.try_into().map_or(f64::MAX, f64::from)
}

/// What a model is told when a verb gave no answer.
pub(crate) fn failed(error: NotesError) -> ToolError {
    match error {
        NotesError::NotFound => ToolError::NotFound(
            "There is no such note. Take the id from notes_list or notes_search.".into(),
        ),
        NotesError::Unavailable(source) => {
            tracing::error!(
                dependency = DATABASE, error = ?source,
                "The database is unavailable: {source}"
            );
            ToolError::Unavailable(
                "The notes cannot be reached at the moment. Nothing is lost: try again in a few \
                 seconds."
                    .into(),
            )
        }
        NotesError::Busy(_) => ToolError::Rpc(RpcError::too_many_requests(
            "too much at once: your other calls are still reading or writing notes; wait a second, \
             then try again, and make fewer calls at once",
            BUSY_WAIT,
        )),
        NotesError::Full(used) => ToolError::Failed(format!(
            "This was not kept, because the user's notes would be more than one person may keep: \
             {used}. Delete or shorten notes that are no longer needed (notes_export saves them before), \
             then try again."
        )),
        NotesError::TooCostly => ToolError::Failed(
            "This search takes too long and was stopped: too many long notes match it. Use fewer or \
             rarer words, without phrases in quotes, or list the notes of a tag with notes_list."
                .into(),
        ),
        NotesError::Internal(source) => ToolError::internal(source),
    }
}

/// The same in a job, which is tried again by itself if that may help.
fn retry(error: NotesError, problem: &str) -> ToolError {
    match error {
        NotesError::Unavailable(source) => {
            tracing::error!(
                dependency = DATABASE, error = ?source,
                "The database is unavailable: {source}"
            );
            ToolError::Unavailable(format!(
                "{problem} Nothing is lost: try again in a few seconds."
            ))
        }
        NotesError::Busy(_) => ToolError::Retry(format!(
            "{problem} You have too many jobs and calls at once: wait until some have ended."
        )),
        error => failed(error),
    }
}

/// The same, for one note that was asked for.
fn failed_for(id: NoteId) -> impl Fn(NotesError) -> ToolError {
    move |error| match error {
        NotesError::NotFound => ToolError::NotFound(format!(
            "There is no note {id}. Take the id from notes_list or notes_search."
        )),
        error => failed(error),
    }
}
