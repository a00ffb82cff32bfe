//! `bookmarks_list`: the newest bookmarks.

use mcp::{Call, Tool, ToolAnnotations, ToolError, View};
use schemars::JsonSchema;
use serde::Deserialize;

use super::found::{Found, MAX_RESULTS};
use crate::{errors::failed, scopes, state::State, store, view};

pub(super) struct ListBookmarks;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// Only bookmarks with this tag.
    tag: Option<String>,
}

impl Tool<State> for ListBookmarks {
    const NAME: &'static str = "bookmarks_list";
    const TITLE: &'static str = "List bookmarks";
    const DESCRIPTION: &'static str = "Lists the newest bookmarks of the user, at most 50.";
    const SCOPE: &'static str = scopes::READ;
    const ANNOTATIONS: ToolAnnotations = ToolAnnotations::READ_ONLY;
    const VIEW: Option<&View> = Some(&view::BOOKMARKS);
    type Input = Input;
    type Output = Found;

    async fn call(
        &self,
        call: &Call,
        state: &State,
        Input { tag }: Input,
    ) -> Result<Found, ToolError> {
        let db = state.db_of(call.user());
        let bookmarks = store::list(&db, call.user(), tag.as_deref(), MAX_RESULTS).await;
        Ok(Found { bookmarks: bookmarks.map_err(failed)? })
    }
}
