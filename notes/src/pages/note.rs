//! One note, and the question whether to delete it.

use app::section::{Fragment, SectionError, SectionVisit};
use askama::Template;

use super::{
    fragment::{fragment, section_error},
    markdown,
};
use crate::{
    State,
    note_id::NoteId,
    store::{self, Note},
};

#[derive(Template)]
#[template(path = "note.html")]
struct NotePage<'a> {
    path: &'a str,
    note: &'a Note,
    tags: String,
    updated: String,
    /// The text as HTML, in which everything that the user wrote is escaped.
    body: String,
}

#[derive(Template)]
#[template(path = "note_delete.html")]
struct DeletePage<'a> {
    path: &'a str,
    csrf: &'a str,
    note: &'a Note,
}

/// Shows a note or, with the field `delete`, asks whether to delete it.
pub(super) async fn show(
    state: &State,
    visit: &SectionVisit,
    id: NoteId,
) -> Result<Fragment, SectionError> {
    let note = store::get(&state.db_for(visit.user()), visit.user(), id).await;
    let note = note.map_err(section_error)?;
    let path = &*visit.path;
    if visit.field("delete").is_some() {
        let page = DeletePage { path, csrf: visit.csrf(), note: &note };
        return fragment("Delete this note?", &page);
    }
    let page = NotePage {
        path,
        tags: note.tags.join(", "),
        updated: note.updated_at.format("%-d %B %Y at %H:%M UTC").to_string(),
        body: markdown::html(&note.body),
        note: &note,
    };
    fragment(note.title.clone(), &page)
}
