//! `bookmarks_search`: finds bookmarks by words.

use mcp::{Call, Tool, ToolAnnotations, ToolError, View};
use schemars::JsonSchema;
use serde::Deserialize;

use super::found::{Found, MAX_RESULTS};
use crate::{errors::failed, scopes, state::State, store, view};

pub(super) struct SearchBookmarks;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// Words that the title or the address contains, all of them.
    #[schemars(length(min = 1, max = 200))]
    query: String,
}

impl Tool<State> for SearchBookmarks {
    const NAME: &'static str = "bookmarks_search";
    const TITLE: &'static str = "Search bookmarks";
    const DESCRIPTION: &'static str = "Finds bookmarks whose title or address contains all words of \
        the query, newest first, at most 50.";
    const SCOPE: &'static str = scopes::READ;
    const ANNOTATIONS: ToolAnnotations = ToolAnnotations::READ_ONLY;
    const VIEW: Option<&View> = Some(&view::BOOKMARKS);
    type Input = Input;
    type Output = Found;

    async fn call(
        &self,
        call: &Call,
        state: &State,
        Input { query }: Input,
    ) -> Result<Found, ToolError> {
        let db = state.db_of(call.user());
        let bookmarks = store::search(&db, call.user(), &query, MAX_RESULTS).await;
        Ok(Found { bookmarks: bookmarks.map_err(failed)? })
    }
}
