//! The resource `bookmarks://recent`: the newest bookmarks, as one Markdown document.

use mcp::{Call, MatchedUri, Resource, ResourceContents, ToolError};

use crate::{errors::failed, scopes, state::State, store};

/// The number of bookmarks in the document.
const SHOWN: u64 = 20;

pub(crate) struct RecentBookmarks;

impl Resource<State> for RecentBookmarks {
    const URI: &'static str = "bookmarks://recent";
    const NAME: &'static str = "recent";
    const TITLE: &'static str = "Recent bookmarks";
    const DESCRIPTION: &'static str = "The newest bookmarks of the user, with their tags.";
    const MIME_TYPE: &'static str = "text/markdown";
    const SCOPE: &'static str = scopes::READ;

    async fn read(
        &self,
        call: &Call,
        state: &State,
        uri: &MatchedUri,
    ) -> Result<Vec<ResourceContents>, ToolError> {
        let db = state.db_of(call.user());
        let bookmarks = store::list(&db, call.user(), None, SHOWN).await.map_err(failed)?;
        let mut text = String::new();
        for bookmark in bookmarks {
            let tags = bookmark.tags.join(", ");
            text.extend(["- [", &bookmark.title, "](<", &bookmark.url, ">) ", &tags, "\n"]);
        }
        if text.is_empty() {
            text.push_str("There are no bookmarks yet.\n");
        }
        Ok(vec![ResourceContents::text(&uri.uri, Self::MIME_TYPE, text)])
    }
}
