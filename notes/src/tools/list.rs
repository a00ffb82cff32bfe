//! `notes_list`: lists notes page by page, newest first.

use mcp::{Call, Tool, ToolAnnotations, ToolError, View};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    State,
    errors::tool_error,
    scopes,
    store::{self, Cursor, Listing, Page, PageSize, Tag},
    views,
};

pub(super) struct ListNotes;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    #[serde(default)]
    limit: PageSize,
    /// `next_cursor` of the previous page. Leave it out for the first page.
    cursor: Option<Cursor>,
    /// Only notes with this tag.
    tag: Option<Tag>,
}

impl Tool<State> for ListNotes {
    const NAME: &'static str = "notes_list";
    const TITLE: &'static str = "List notes";
    const DESCRIPTION: &'static str = "Lists the user's notes, newest first, with the beginning of \
        each. For the next page call it again with `next_cursor`. To find notes on a subject use \
        notes_search.";
    const SCOPE: &'static str = scopes::READ;
    const ANNOTATIONS: ToolAnnotations = ToolAnnotations::READ_ONLY;
    const VIEW: Option<&View> = Some(&views::BOARD);
    type Input = Input;
    type Output = Page;

    async fn call(&self, call: &Call, state: &State, input: Input) -> Result<Page, ToolError> {
        let Input { limit, cursor, tag } = input;
        let listing = Listing { limit, cursor, tag };
        store::list(&state.db_for(call.user()), call.user(), listing).await.map_err(tool_error)
    }
}
