//! `notes_search`: full-text search.

use mcp::{Call, Tool, ToolAnnotations, ToolError, View};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    State,
    errors::tool_error,
    scopes,
    store::{self, Hits, PageSize, SearchQuery},
    views,
};

pub(super) struct SearchNotes;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// Words that must all occur, in any form. "In quotes" for a phrase, OR between alternatives,
    /// -word to exclude a word.
    query: SearchQuery,
    #[serde(default)]
    limit: PageSize,
}

impl Tool<State> for SearchNotes {
    const NAME: &'static str = "notes_search";
    const TITLE: &'static str = "Search notes";
    const DESCRIPTION: &'static str = "Searches titles, bodies and tags of the user's notes, best \
        match first, with the matching passages. Read a whole note with notes_get.";
    const SCOPE: &'static str = scopes::READ;
    const ANNOTATIONS: ToolAnnotations = ToolAnnotations::READ_ONLY;
    const VIEW: Option<&View> = Some(&views::BOARD);
    type Input = Input;
    type Output = Hits;

    async fn call(&self, call: &Call, state: &State, input: Input) -> Result<Hits, ToolError> {
        store::find(state, call.user(), &input.query, input.limit).await.map_err(tool_error)
    }
}
