//! What a failure of the store means for a tool, resource or prompt.

use std::time::Duration;

use mcp::{RpcError, ToolError};
use platform::db::DATABASE;

use crate::{note_id::NoteId, store::NotesError};

/// When a call that was refused because the same person's other calls use the database may come
/// again.
const BUSY_WAIT: Duration = Duration::from_secs(1);

/// What a model is told when a verb gave no answer.
pub(crate) fn tool_error(error: NotesError) -> ToolError {
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
pub(crate) fn job_error(error: NotesError, problem: &str) -> ToolError {
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
        error => tool_error(error),
    }
}

/// The same, for one note that was asked for.
pub(crate) fn tool_error_for_note(id: NoteId) -> impl Fn(NotesError) -> ToolError {
    move |error| match error {
        NotesError::NotFound => ToolError::NotFound(format!(
            "There is no note {id}. Take the id from notes_list or notes_search."
        )),
        error => tool_error(error),
    }
}
