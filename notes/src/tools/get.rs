//! `notes_get`: returns a note.

use mcp::{Call, Tool, ToolAnnotations, ToolError, View};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    State,
    errors::tool_error_for_note,
    scopes,
    store::{self, Note, NoteRef},
    views,
};

pub(super) struct GetNote;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// The id of the note, as returned by `notes_list` or `notes_search`, or its resource URI.
    id: NoteRef,
}

impl Tool<State> for GetNote {
    const NAME: &'static str = "notes_get";
    const TITLE: &'static str = "Read a note";
    const DESCRIPTION: &'static str = "Returns one of the user's notes in full, with title, body, \
        tags and times.";
    const SCOPE: &'static str = scopes::READ;
    const ANNOTATIONS: ToolAnnotations = ToolAnnotations::READ_ONLY;
    const VIEW: Option<&View> = Some(&views::NOTE);
    type Input = Input;
    type Output = Note;

    async fn call(&self, call: &Call, state: &State, input: Input) -> Result<Note, ToolError> {
        let NoteRef(id) = input.id;
        store::get(&state.db_for(call.user()), call.user(), id)
            .await
            .map_err(tool_error_for_note(id))
    }
}
