//! The section “Notes” of the account page: users search, read, delete and download their notes
//! without an MCP client.

mod fragment;
mod list;
mod markdown;
mod note;

use app::section::{Fragment, Next, Section, SectionError, SectionVisit};
use async_trait::async_trait;
use mcp::{Tool, job::NotEnqueued};
use platform::db::Failure;
use serde_json::{json, value::to_raw_value};

use self::fragment::section_error;
use crate::{
    State,
    note_id::NoteId,
    store::{self, NotesError},
    tools::{DeleteNote, ExportNotes},
};

/// The section.
pub(crate) struct NotesSection;

#[async_trait]
impl Section<State> for NotesSection {
    fn name(&self) -> &'static str {
        "notes"
    }

    fn title(&self) -> &'static str {
        "Notes"
    }

    async fn show(&self, state: &State, visit: &SectionVisit) -> Result<Fragment, SectionError> {
        match &visit.item {
            None => list::show(state, visit).await,
            Some(item) => note::show(state, visit, id(item)?).await,
        }
    }

    async fn act(&self, state: &State, visit: &SectionVisit) -> Result<Next, SectionError> {
        match (visit.field("action"), &visit.item) {
            (Some("download"), None) => download_all(state, visit).await,
            (Some("delete"), Some(item)) => {
                let note = id(item)?;
                match store::delete(state, visit.user(), note).await {
                    Ok(_) => {
                        visit.audit(<DeleteNote as Tool<State>>::NAME, note);
                        Ok(Next::Section("deleted"))
                    }
                    // It was deleted already, perhaps in another tab.
                    Err(NotesError::NotFound) => Ok(Next::Section("deleted")),
                    Err(error) => Err(section_error(error)),
                }
            }
            _ => Err(SectionError::NotFound),
        }
    }
}

/// Starts the tool that exports all notes as ZIP.
async fn download_all(state: &State, visit: &SectionVisit) -> Result<Next, SectionError> {
    let arguments = to_raw_value(&json!({ "format": "zip" })).expect("a JSON object");
    match visit.start_job::<State, ExportNotes>(state.jobs(), arguments).await {
        Ok(()) => Ok(Next::Jobs),
        Err(NotEnqueued::Unavailable(error)) => {
            Err(SectionError::Failed(Failure::Internal(anyhow::Error::new(error))))
        }
        Err(error) => {
            tracing::info!(%error, "Refused an export of the account page");
            Err(SectionError::Refused(format!(
                "{} Wait for one to finish, or cancel one on the page Jobs.",
                error.sentence()
            )))
        }
    }
}

/// Parses the id in a path.
fn id(item: &str) -> Result<NoteId, SectionError> {
    item.parse().map_err(|_not_an_id| SectionError::NotFound)
}
