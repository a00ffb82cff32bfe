//! `notes_create`: creates a note.

use mcp::{Call, Tool, ToolAnnotations, ToolError};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    State,
    errors::tool_error,
    scopes,
    store::{self, Body, Draft, Note, Tags, Title},
};

pub(super) struct CreateNote;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    title: Title,
    body: Body,
    #[serde(default)]
    tags: Tags,
}

impl Tool<State> for CreateNote {
    const NAME: &'static str = "notes_create";
    const TITLE: &'static str = "Create a note";
    const DESCRIPTION: &'static str = "Creates a note for the user and returns it with its id. \
        Search first: if a note on the subject exists, update it instead.";
    const SCOPE: &'static str = scopes::WRITE;
    const ANNOTATIONS: ToolAnnotations = ToolAnnotations::ADDITIVE;
    type Input = Input;
    type Output = Note;

    async fn call(&self, call: &Call, state: &State, input: Input) -> Result<Note, ToolError> {
        let Input { title, body, tags } = input;
        let draft = Draft { title, body, tags };
        let note = store::create(state, call.user(), draft).await.map_err(tool_error)?;
        call.caller().audit(Self::NAME, note.id);
        Ok(note)
    }
}
