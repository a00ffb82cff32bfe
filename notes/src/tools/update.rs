//! `notes_update`: changes a note.

use mcp::{Call, Tool, ToolAnnotations, ToolError};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    State,
    errors::tool_error_for_note,
    scopes,
    store::{self, Body, Changes, Note, NoteRef, Tags, Title},
};

pub(super) struct UpdateNote;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// The id of the note, as returned by `notes_list` or `notes_search`, or its resource URI.
    id: NoteRef,
    title: Option<Title>,
    body: Option<Body>,
    tags: Option<Tags>,
}

impl Tool<State> for UpdateNote {
    const NAME: &'static str = "notes_update";
    const TITLE: &'static str = "Change a note";
    const DESCRIPTION: &'static str = "Changes a note and returns it. Fields that you \
        leave out (or send as null or empty text) stay unchanged; `body` and `tags` replace the \
        old ones entirely, so read the note first.";
    const SCOPE: &'static str = scopes::WRITE;
    const ANNOTATIONS: ToolAnnotations = ToolAnnotations::DESTRUCTIVE;
    type Input = Input;
    type Output = Note;

    async fn call(&self, call: &Call, state: &State, input: Input) -> Result<Note, ToolError> {
        let Input { id: NoteRef(id), title, body, tags } = input;
        let changes = Changes { title, body, tags };
        if changes == Changes::default() {
            return Err(ToolError::Input(
                "There is nothing to change: set at least one of `title`, `body` and `tags`. Empty \
                 text counts as left out.".into(),
            ));
        }
        let updated = store::update(state, call.user(), id, changes).await;
        let note = updated.map_err(tool_error_for_note(id))?;
        call.caller().audit(Self::NAME, id);
        Ok(note)
    }
}
