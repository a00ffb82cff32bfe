//! `notes_delete`: deletes a note, after the user has confirmed if the client can ask.

use crate::note_id::NoteId;
use mcp::{Call, Capability, Elicited, Tool, ToolAnnotations, ToolError};
use platform::quoted;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    State,
    errors::tool_error_for_note,
    scopes,
    store::{self, NoteRef},
};

pub(super) struct DeleteNote;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// The id of the note, as returned by `notes_list` or `notes_search`, or its resource URI.
    id: NoteRef,
}

/// The form that asks the user for confirmation.
#[derive(Deserialize, JsonSchema)]
struct Confirm {
    /// Delete the note. This cannot be undone.
    confirm: bool,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Output {
    /// Whether the note was deleted.
    deleted: bool,
    /// The id of the note.
    id: NoteId,
    /// The title of the note.
    title: String,
    /// Why the note was not deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

impl Tool<State> for DeleteNote {
    const NAME: &'static str = "notes_delete";
    const TITLE: &'static str = "Delete a note";
    const DESCRIPTION: &'static str = "Deletes one of the user's notes permanently. If the client \
        supports elicitation, the user is asked for confirmation first and may refuse; `deleted` \
        says whether the note was deleted.";
    const SCOPE: &'static str = scopes::WRITE;
    const ANNOTATIONS: ToolAnnotations = ToolAnnotations::DESTRUCTIVE;
    type Input = Input;
    type Output = Output;

    async fn call(
        &self,
        call: &Call,
        state: &State,
        Input { id: NoteRef(id) }: Input,
    ) -> Result<Output, ToolError> {
        let note = store::get(&state.db_for(call.user()), call.user(), id)
            .await
            .map_err(tool_error_for_note(id))?;
        // A client without elicitation has its own way to confirm destructive tools.
        if call.can_ask(Capability::ElicitationForm) {
            let question =
                format!("Delete the note {}? This cannot be undone.", quoted(&note.title));
            let refused = match call.elicit::<Confirm>("confirm", question)? {
                Elicited::Accepted(Confirm { confirm: true }) => None,
                Elicited::Accepted(_) | Elicited::Declined => Some("The user declined."),
                Elicited::Cancelled => Some("The user closed the question without answering."),
            };
            if refused.is_some() {
                return Ok(Output { deleted: false, id, title: note.title, reason: refused });
            }
        }
        let note = store::delete(state, call.user(), id).await.map_err(tool_error_for_note(id))?;
        Ok(Output { deleted: true, id, title: note.title, reason: None })
    }
}
