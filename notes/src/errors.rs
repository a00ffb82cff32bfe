//! Converts errors of the store into errors of tools, resources and prompts.

use std::time::Duration;

use mcp::{RpcError, ToolError};
use platform::db::DATABASE;
use sea_orm::DbErr;

use crate::{note_id::NoteId, store::NotesError};

/// The delay (`Retry-After`) after a call that was rejected because other calls of the same user
/// occupy the database.
const BUSY_WAIT: Duration = Duration::from_secs(1);

/// Converts an error into one that the model or the client can act on. Logs unavailability.
pub(crate) fn tool_error(error: NotesError) -> ToolError {
    match error {
        NotesError::NotFound => ToolError::NotFound(
            "There is no such note. Get the id from notes_list or notes_search.".into(),
        ),
        NotesError::Unavailable(source) => {
            unavailable(&source, "The notes are temporarily unavailable.")
        }
        NotesError::Busy(_) => ToolError::Rpc(RpcError::too_many_requests(
            "too many concurrent calls: your other calls are still reading or writing notes; wait a \
             second, then try again with fewer concurrent calls",
            BUSY_WAIT,
        )),
        NotesError::Full(usage) => ToolError::Failed(format!(
            "The note was not saved, because it would exceed the user's quota: {usage}. Delete or \
             shorten notes that are no longer needed (notes_export can save a copy of them first), \
             then try again."
        )),
        NotesError::TooCostly => ToolError::Failed(
            "The search was stopped because it took too long: too many long notes match. Use fewer \
             or rarer words, without phrases in quotes, or list the notes with a tag with notes_list."
                .into(),
        ),
        NotesError::Internal(source) => ToolError::internal(source),
    }
}

/// Converts an error in a job like [`tool_error`], except that temporary failures cause a retry.
/// `problem` is the first sentence of the message.
pub(crate) fn job_error(error: NotesError, problem: &str) -> ToolError {
    match error {
        NotesError::Unavailable(source) => unavailable(&source, problem),
        NotesError::Busy(_) => ToolError::Retry(format!(
            "{problem} You have too many concurrent jobs and calls: wait until some have finished."
        )),
        error => tool_error(error),
    }
}

/// Converts an error about a requested note like [`tool_error`], with the id of the note in the
/// message.
pub(crate) fn tool_error_for_note(id: NoteId) -> impl Fn(NotesError) -> ToolError {
    move |error| match error {
        NotesError::NotFound => ToolError::NotFound(format!(
            "There is no note {id}. Get the id from notes_list or notes_search."
        )),
        error => tool_error(error),
    }
}

fn unavailable(error: &DbErr, problem: &str) -> ToolError {
    tracing::error!(
        dependency = DATABASE,
        ?error,
        "Could not read or write notes: the database is unavailable"
    );
    ToolError::Unavailable(format!("{problem} No data was lost: try again in a few seconds."))
}
