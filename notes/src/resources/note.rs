//! `notes://by-id/{id}`: a note.

use mcp::{
    Annotations, Call, Completion, MatchedUri, Resource, ResourceContents, ResourceEntry,
    ResourcePage, ToolError,
};

use crate::{
    State,
    errors::tool_error,
    scopes,
    store::{self, Cursor, NoteSummary, NotesError},
    uris,
};

pub(super) struct NoteById;

const MIME_TYPE: &str = "text/markdown";

impl Resource<State> for NoteById {
    const URI: &'static str = "notes://by-id/{id}";
    const NAME: &'static str = "note";
    const TITLE: &'static str = "A note";
    const DESCRIPTION: &'static str = "A note of the user, with its title, tags and text.";
    const MIME_TYPE: &'static str = MIME_TYPE;
    const SCOPE: &'static str = scopes::READ;

    async fn list(
        &self,
        call: &Call,
        state: &State,
        cursor: Option<&str>,
    ) -> Result<ResourcePage, ToolError> {
        let cursor = cursor
            .map(str::parse::<Cursor>)
            .transpose()
            .map_err(|error| ToolError::Input(error.to_string()))?;
        let page = store::index(&state.db_for(call.user()), call.user(), cursor)
            .await
            .map_err(tool_error)?;
        Ok(ResourcePage {
            entries: page.notes.iter().map(entry).collect(),
            next: page.next_cursor.map(|cursor| cursor.to_string()),
        })
    }

    async fn read(
        &self,
        call: &Call,
        state: &State,
        uri: &MatchedUri,
    ) -> Result<Vec<ResourceContents>, ToolError> {
        // A malformed id gives the same error as the id of another user's note.
        let id =
            uri.variable("id").parse().map_err(|_not_an_id| tool_error(NotesError::NotFound))?;
        let note =
            store::get(&state.db_for(call.user()), call.user(), id).await.map_err(tool_error)?;
        let tags = if note.tags.is_empty() {
            String::new()
        } else {
            format!("{}\n\n", note.tags.join(", "))
        };
        let text = format!("# {}\n\n{tags}{}\n", note.title, note.body);
        Ok(vec![ResourceContents::text(&uri.uri, MIME_TYPE, text)])
    }

    async fn complete(
        &self,
        call: &Call,
        state: &State,
        _variable: &str,
        value: &str,
    ) -> Result<Completion, ToolError> {
        let ids = store::complete_ids(&state.db_for(call.user()), call.user(), value)
            .await
            .map_err(tool_error)?;
        Ok(Completion::of(ids.into_iter().map(|id| id.to_string())))
    }
}

fn entry(note: &NoteSummary) -> ResourceEntry {
    ResourceEntry {
        title: Some(note.title.clone()),
        description: Some(note.excerpt.clone()).filter(|excerpt| !excerpt.is_empty()),
        mime_type: Some(MIME_TYPE.to_owned()),
        annotations: Some(Annotations {
            last_modified: Some(note.updated_at.to_rfc3339()),
            ..Annotations::default()
        }),
        ..ResourceEntry::new(uris::note(note.id), note.title.clone())
    }
}
