//! `bookmarks_delete`: deletes a bookmark.

use mcp::{Call, Tool, ToolAnnotations, ToolError};
use schemars::JsonSchema;
use serde::Deserialize;
use uuid::Uuid;

use crate::{
    errors::failed,
    scopes,
    state::State,
    store::{self, Bookmark},
};

pub(super) struct DeleteBookmark;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// The id of the bookmark, as the other tools return it.
    id: Uuid,
}

impl Tool<State> for DeleteBookmark {
    const NAME: &'static str = "bookmarks_delete";
    const TITLE: &'static str = "Delete a bookmark";
    const DESCRIPTION: &'static str = "Deletes a bookmark of the user for good, and returns it.";
    const SCOPE: &'static str = scopes::WRITE;
    const ANNOTATIONS: ToolAnnotations = ToolAnnotations::DESTRUCTIVE;
    type Input = Input;
    type Output = Bookmark;

    async fn call(
        &self,
        call: &Call,
        state: &State,
        Input { id }: Input,
    ) -> Result<Bookmark, ToolError> {
        let deleted = store::delete(&state.db_of(call.user()), call.user(), id).await;
        deleted.map_err(failed)?.ok_or_else(|| {
            ToolError::NotFound(format!(
                "There is no bookmark {id}. Take the id from bookmarks_list or bookmarks_search."
            ))
        })
    }
}
