//! The prompt `summarize_notes`: summarizes what the notes say about a subject.

use std::collections::BTreeMap;

use mcp::{Call, Completion, Prompt, PromptMessage, PromptResult, ToolError};
use platform::{plain, quoted};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    State,
    errors::tool_error,
    scopes,
    store::{self, PageSize, SearchQuery},
};

pub(super) struct SummarizeNotes;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Arguments {
    /// The subject of the summary: a title or some words.
    subject: SearchQuery,
}

impl Prompt<State> for SummarizeNotes {
    const NAME: &'static str = "summarize_notes";
    const TITLE: &'static str = "Summarize my notes";
    const DESCRIPTION: &'static str = "Summarizes what the user's notes say about a subject.";
    const SCOPE: &'static str = scopes::READ;
    type Arguments = Arguments;

    async fn get(
        &self,
        call: &Call,
        state: &State,
        Arguments { subject }: Arguments,
    ) -> Result<PromptResult, ToolError> {
        let found = store::find(state, call.user(), &subject, PageSize::default())
            .await
            .map_err(tool_error)?;
        let mut text = format!(
            "Summarize what my notes say about {}: the main points first, then what is \
             still open. Name the notes you rely on.\n\n",
            quoted(subject.as_str())
        );
        if found.notes.is_empty() {
            text.push_str("A search for it found no notes; try other words with notes_search.");
        } else {
            text.push_str("A search found these notes; read the relevant ones with notes_get:\n");
            let lines = found
                .notes
                .iter()
                .map(|note| format!("- {} (id {})\n", plain(&note.title), note.id));
            text.extend(lines);
        }
        Ok(PromptResult {
            description: Some(Self::DESCRIPTION.to_owned()),
            messages: vec![PromptMessage::user(text)],
        })
    }

    async fn complete(
        &self,
        call: &Call,
        state: &State,
        _argument: &str,
        value: &str,
        _arguments: &BTreeMap<String, String>,
    ) -> Result<Completion, ToolError> {
        let titles = store::complete_titles(&state.db_for(call.user()), call.user(), value)
            .await
            .map_err(tool_error)?;
        Ok(Completion::of(titles))
    }
}
