//! `notes://recent`: the newest notes, as one Markdown document.

use mcp::{Call, MatchedUri, Resource, ResourceContents, ToolError};

use crate::{
    State,
    errors::tool_error,
    scopes,
    store::{self, Listing, NoteSummary},
    uris,
};

pub(super) struct RecentNotes;

impl Resource<State> for RecentNotes {
    const URI: &'static str = uris::RECENT;
    const NAME: &'static str = "recent";
    const TITLE: &'static str = "Recent notes";
    const DESCRIPTION: &'static str =
        "The newest notes of the user, with the beginning of each and its resource URI.";
    const MIME_TYPE: &'static str = "text/markdown";
    const SCOPE: &'static str = scopes::READ;

    async fn read(
        &self,
        call: &Call,
        state: &State,
        uri: &MatchedUri,
    ) -> Result<Vec<ResourceContents>, ToolError> {
        let page = store::list(&state.db_for(call.user()), call.user(), Listing::default())
            .await
            .map_err(tool_error)?;
        let text = match page.notes.as_slice() {
            [] => "There are no notes yet.\n".to_owned(),
            notes => notes.iter().map(section).collect(),
        };
        Ok(vec![ResourceContents::text(&uri.uri, Self::MIME_TYPE, text)])
    }
}

fn section(note: &NoteSummary) -> String {
    let NoteSummary { id, title, excerpt, tags, created_at, .. } = note;
    let tags = if tags.is_empty() { String::new() } else { format!(" · {}", tags.join(", ")) };
    format!(
        "## {title}\n\n{} · {}{tags}\n\n{excerpt}\n\n",
        created_at.date_naive(),
        uris::note(*id)
    )
}
