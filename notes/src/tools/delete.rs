//! `notes_delete`: deletes a note, after the user has confirmed.

use crate::note_id::NoteId;
use mcp::{Call, ConfirmToken, Confirmation, Step, Tool, ToolAnnotations, ToolError};
use platform::quoted;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    State,
    errors::tool_error_for_note,
    scopes,
    store::{self, NoteRef},
};

pub(crate) struct DeleteNote;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// The id of the note, as returned by `notes_list` or `notes_search`, or its resource URI.
    id: NoteRef,
    /// Leave it out at first. If the result has a `confirm` of its own, ask the user the `question`;
    /// only if they agree, call again with it.
    confirm: Option<ConfirmToken>,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// Whether the note was deleted.
    deleted: bool,
    /// The id of the note.
    id: NoteId,
    /// The title of the note.
    title: String,
    /// Why the note was not deleted, and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// The question to ask the user, if the note was not deleted because they could not be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    question: Option<String>,
    /// The `confirm` argument of the next call, if the user agrees.
    #[serde(skip_serializing_if = "Option::is_none")]
    confirm: Option<ConfirmToken>,
}

impl Tool<State> for DeleteNote {
    const NAME: &'static str = "notes_delete";
    const TITLE: &'static str = "Delete a note";
    const DESCRIPTION: &'static str = "Deletes one of the user's notes permanently, after the user \
        has confirmed. If the client cannot ask the user, the first call deletes nothing and returns \
        a `question` and a `confirm`: ask the user, and if they agree, call again with `confirm`. \
        `deleted` says whether the note was deleted.";
    const SCOPE: &'static str = scopes::WRITE;
    const ANNOTATIONS: ToolAnnotations = ToolAnnotations::DESTRUCTIVE;
    type Input = Input;
    type Output = Output;

    async fn call(
        &self,
        call: &Call,
        state: &State,
        Input { id: NoteRef(id), confirm }: Input,
    ) -> Result<Output, ToolError> {
        let note = store::get(&state.db_for(call.user()), call.user(), id)
            .await
            .map_err(tool_error_for_note(id))?;
        let question = format!("Delete the note {}? This cannot be undone.", quoted(&note.title));
        let step = Step { tool: Self::NAME, subject: &id.to_string(), question: &question };
        let kept = Output {
            deleted: false,
            id,
            title: note.title,
            reason: None,
            question: None,
            confirm: None,
        };
        match call.confirm(&step, confirm.as_ref())? {
            Confirmation::Given => {}
            Confirmation::Refused(reason) => {
                return Ok(Output { reason: Some(reason.to_owned()), ..kept });
            }
            Confirmation::Wanted(wanted) => {
                return Ok(Output {
                    reason: Some(wanted.reason),
                    question: Some(wanted.question),
                    confirm: Some(wanted.token),
                    ..kept
                });
            }
        }
        let note = store::delete(state, call.user(), id).await.map_err(tool_error_for_note(id))?;
        call.caller().audit(Self::NAME, id);
        Ok(Output { deleted: true, title: note.title, ..kept })
    }
}
