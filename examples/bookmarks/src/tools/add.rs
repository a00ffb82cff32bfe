//! `bookmarks_add`: adds a bookmark.

use mcp::{Call, Tool, ToolAnnotations, ToolError};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    errors::failed,
    scopes,
    state::State,
    store::{self, Bookmark, Url},
};

/// The maximum length of a title, in characters.
const MAX_TITLE: usize = 200;

pub(super) struct AddBookmark;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// The address of the page.
    #[schemars(length(max = 2048))]
    url: String,
    /// The title. Default: the address.
    title: Option<String>,
    /// Tags, each a short word.
    #[serde(default)]
    tags: Vec<String>,
}

impl Tool<State> for AddBookmark {
    const NAME: &'static str = "bookmarks_add";
    const TITLE: &'static str = "Add a bookmark";
    const DESCRIPTION: &'static str = "Adds a bookmark. If the address is bookmarked already, its \
        title and tags are replaced.";
    const SCOPE: &'static str = scopes::WRITE;
    const ANNOTATIONS: ToolAnnotations = ToolAnnotations::ADDITIVE;
    type Input = Input;
    type Output = Bookmark;

    async fn call(
        &self,
        call: &Call,
        state: &State,
        Input { url, title, tags }: Input,
    ) -> Result<Bookmark, ToolError> {
        let url = Url::parse(&url)?;
        let title = title.unwrap_or_else(|| url.as_str().to_owned());
        if title.chars().count() > MAX_TITLE {
            return Err(ToolError::Input(format!(
                "The title has more than {MAX_TITLE} characters. Shorten it."
            )));
        }
        let now = state.clock().now();
        store::add(&state.db_of(call.user()), call.user(), now, url, title, tags)
            .await
            .map_err(failed)
    }
}
