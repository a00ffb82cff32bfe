//! The prompt `reading_list`: what to read next.

use mcp::{Call, Prompt, PromptMessage, PromptResult, ToolError};
use platform::plain;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{errors::failed, scopes, state::State, store};

/// The number of bookmarks in the prompt.
const SHOWN: u64 = 20;

pub(crate) struct ReadingList;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Arguments {
    /// Only bookmarks with this tag.
    tag: Option<String>,
}

impl Prompt<State> for ReadingList {
    const NAME: &'static str = "reading_list";
    const TITLE: &'static str = "Reading list";
    const DESCRIPTION: &'static str = "Suggests what to read next among the newest bookmarks.";
    const SCOPE: &'static str = scopes::READ;
    type Arguments = Arguments;

    async fn get(
        &self,
        call: &Call,
        state: &State,
        Arguments { tag }: Arguments,
    ) -> Result<PromptResult, ToolError> {
        let db = state.db_of(call.user());
        let bookmarks = store::list(&db, call.user(), tag.as_deref(), SHOWN);
        let mut text = "Suggest three of these pages to read next, and why:\n".to_owned();
        for bookmark in bookmarks.await.map_err(failed)? {
            text.extend(["- ", &plain(&bookmark.title), ": ", &bookmark.url, "\n"]);
        }
        Ok(PromptResult {
            description: Some(Self::DESCRIPTION.to_owned()),
            messages: vec![PromptMessage::user(text)],
        })
    }
}
