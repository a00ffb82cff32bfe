//! `notes_summarize`: summarizes a few notes, with the model of the client (sampling) or the one that
//! the operator has configured (`LLM_URL`). Without either it returns the texts, and the model that
//! called the tool summarizes them.

use std::time::Duration;

use crate::note_id::NoteId;
use app::model::Model;
use mcp::{Call, Capability, SampleRequest, Tool, ToolAnnotations, ToolError};
use platform::quoted;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    State,
    errors::{tool_error, tool_error_for_note},
    progress::to_f64,
    scopes,
    store::{self, Listing, Note, NoteRef, PageSize, SearchQuery, Tag},
    summary,
};

/// The maximum number of notes in a summary.
const MAX_NOTES: u8 = 20;

/// The maximum length of all texts together, in characters: leaves room for a conversation in the
/// context of common models.
const MAX_TEXT: usize = 40_000;

/// The maximum length of the summary, in tokens.
const MAX_TOKENS: u32 = 1_000;

/// How long the configured model may take. Common clients give up after a minute.
const MODEL_TIMEOUT: Duration = Duration::from_secs(45);

pub(super) struct SummarizeNotes;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// The ids of the notes, at most 20. Leave it out to choose by `query` or `tag`, or for the
    /// newest notes.
    #[serde(default)]
    #[schemars(length(max = 20))]
    ids: Vec<NoteRef>,
    /// Summarizes the notes that a search for this finds.
    query: Option<SearchQuery>,
    /// Summarizes the newest notes with this tag.
    tag: Option<Tag>,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Output {
    /// The summary. Missing if there was no model to write it.
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<String>,
    /// The model that wrote the summary.
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    /// What to do with `text`.
    #[serde(skip_serializing_if = "Option::is_none")]
    instruction: Option<&'static str>,
    /// The notes, if there was no model to summarize them.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// The notes that were summarized, or are in `text`.
    notes: Vec<Summarized>,
    /// Whether some text was left out because of its length.
    truncated: bool,
}

/// A note that was summarized.
#[derive(Serialize, JsonSchema)]
struct Summarized {
    /// The id of the note.
    id: NoteId,
    /// The title of the note.
    title: String,
}

impl Tool<State> for SummarizeNotes {
    const NAME: &'static str = "notes_summarize";
    const TITLE: &'static str = "Summarize notes";
    const DESCRIPTION: &'static str = "Summarizes up to 20 of the user's notes. If no model is \
        available to the server, it returns the notes as `text`, for you to summarize.";
    const SCOPE: &'static str = scopes::READ;
    const ANNOTATIONS: ToolAnnotations = ToolAnnotations::READ_ONLY;
    type Input = Input;
    type Output = Output;

    async fn call(&self, call: &Call, state: &State, input: Input) -> Result<Output, ToolError> {
        let ids = choose(call, state, input).await?;
        let mut found = Vec::with_capacity(ids.len());
        let total = to_f64(ids.len()) + 1.0;
        for (read, id) in ids.into_iter().enumerate() {
            let note = store::get(&state.db_for(call.user()), call.user(), id)
                .await
                .map_err(tool_error_for_note(id))?;
            let message = format!("Read {}", quoted(&note.title));
            call.progress(to_f64(read + 1), Some(total), Some(&message)).await;
            found.push(note);
        }
        let (text, truncated) = model_input(&found);
        let notes =
            found.into_iter().map(|note| Summarized { id: note.id, title: note.title }).collect();
        let output =
            Output { summary: None, model: None, instruction: None, text: None, notes, truncated };
        let written = if call.can_ask(Capability::Sampling) {
            let request = SampleRequest::new(text.clone(), MAX_TOKENS).system(summary::PROMPT);
            let sampled = call.sample("summary", request)?;
            Some((sampled.text(), sampled.model))
        } else {
            match state.model() {
                Some(model) => summarize(model, &text).await,
                None => None,
            }
        };
        call.progress(total, Some(total), None).await;
        Ok(match written {
            Some((summary, model)) => {
                Output { summary: Some(summary), model: Some(model), ..output }
            }
            None => Output { instruction: Some(summary::INSTRUCTION), text: Some(text), ..output },
        })
    }
}

/// Summarizes with the configured model. Returns the summary and the name of the model. `None`: the
/// model is not available or takes too long.
async fn summarize(model: &Model, text: &str) -> Option<(String, String)> {
    let completing = model.complete(summary::PROMPT, text);
    match tokio::time::timeout(MODEL_TIMEOUT, completing).await {
        Ok(Ok(summary)) => Some((summary, model.name().to_owned())),
        Ok(Err(error)) => {
            tracing::warn!(%error, "Could not summarize notes; the caller receives their text");
            None
        }
        Err(_elapsed) => {
            let seconds = MODEL_TIMEOUT.as_secs();
            tracing::warn!(
                seconds,
                "The model took too long; the caller receives the text of the notes"
            );
            None
        }
    }
}

/// Returns the ids of the notes that the input selects.
async fn choose(call: &Call, state: &State, input: Input) -> Result<Vec<NoteId>, ToolError> {
    let Input { ids, query, tag } = input;
    let ids: Vec<NoteId> = ids.into_iter().map(|NoteRef(id)| id).collect();
    let limit = PageSize::new(u64::from(MAX_NOTES)).map_err(ToolError::internal)?;
    let chosen: Vec<NoteId> = match (ids.as_slice(), query, tag) {
        ([], None, tag) => {
            let listing = Listing { limit, cursor: None, tag };
            let page = store::list(&state.db_for(call.user()), call.user(), listing)
                .await
                .map_err(tool_error)?;
            page.notes.into_iter().map(|note| note.id).collect()
        }
        ([], Some(query), None) => {
            let hits = store::find(state, call.user(), &query, limit).await.map_err(tool_error)?;
            hits.notes.into_iter().map(|hit| hit.id).collect()
        }
        (_, None, None) if ids.len() <= usize::from(MAX_NOTES) => ids,
        (_, None, None) => {
            return Err(ToolError::Input(format!(
                "`ids` has at most {MAX_NOTES} notes, and {} were given.",
                ids.len()
            )));
        }
        _ => {
            return Err(ToolError::Input("Set only one of `ids`, `query` and `tag`.".into()));
        }
    };
    if chosen.is_empty() {
        return Err(summary::no_notes_match());
    }
    Ok(chosen)
}

/// Builds the text for the model, and returns whether it is incomplete.
fn model_input(notes: &[Note]) -> (String, bool) {
    let share = MAX_TEXT / notes.len().max(1);
    let mut truncated = false;
    let mut text = String::new();
    for note in notes {
        let body = match note.body.char_indices().nth(share) {
            None => note.body.as_str(),
            Some((end, _)) => {
                truncated = true;
                &note.body[..end]
            }
        };
        text.extend(["# ", &note.title, "\n\n", body, "\n\n"]);
    }
    (text, truncated)
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;

    fn note(body: &str) -> Note {
        Note {
            id: NoteId(uuid::Uuid::nil()),
            title: "A title".into(),
            body: body.into(),
            tags: Vec::new(),
            created_at: DateTime::UNIX_EPOCH,
            updated_at: DateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn long_notes_share_the_limit() {
        let (text, truncated) = model_input(&[note("short"), note("also short")]);
        assert_eq!(text, "# A title\n\nshort\n\n# A title\n\nalso short\n\n");
        assert!(!truncated);
        let long = "ü".repeat(MAX_TEXT);
        let (text, truncated) = model_input(&[note(&long), note("short")]);
        assert!(truncated && text.contains("short"));
        assert!(text.chars().count() < MAX_TEXT);
    }
}
