//! The list of notes, or the notes that match a search.

use app::section::{Fragment, SectionError, SectionVisit};
use askama::Template;
use chrono::{DateTime, Utc};

use super::fragment::{fragment, section_error};
use crate::{
    State,
    note_id::NoteId,
    store::{self, Cursor, Listing, MARK, MAX_QUERY, PageSize, SearchQuery},
};

/// The number of notes on a page.
const PAGE: u64 = 20;

#[derive(Template)]
#[template(path = "notes.html")]
struct Page<'a> {
    path: &'a str,
    csrf: &'a str,
    notes: &'a [ShownNote],
    /// The words that were searched for. Empty: the list of all notes.
    query: &'a str,
    max_query: usize,
    /// What is wrong with the query.
    problem: Option<String>,
    /// Whether more notes match than are shown.
    more: bool,
    was_deleted: bool,
    /// Whether this is not the first page.
    is_later: bool,
    /// The cursor of the next page, if there is one.
    next: Option<String>,
}

/// A note in the list.
struct ShownNote {
    id: NoteId,
    title: String,
    excerpt: String,
    tags: String,
    updated: String,
}

impl ShownNote {
    fn new(
        id: NoteId,
        title: String,
        excerpt: String,
        tags: &[String],
        updated: DateTime<Utc>,
    ) -> Self {
        let updated = updated.format("%-d %B %Y").to_string();
        Self { id, title, excerpt, tags: tags.join(", "), updated }
    }
}

/// Shows a page of the list, or the results of a search.
pub(super) async fn show(state: &State, visit: &SectionVisit) -> Result<Fragment, SectionError> {
    let query = visit.field("q").unwrap_or_default().trim();
    let page = Page {
        path: &visit.path,
        csrf: visit.csrf(),
        notes: &[],
        query,
        max_query: MAX_QUERY,
        problem: None,
        more: false,
        was_deleted: visit.field("done") == Some("deleted"),
        is_later: false,
        next: None,
    };
    if query.is_empty() { list(state, visit, page).await } else { search(state, visit, page).await }
}

async fn list(
    state: &State,
    visit: &SectionVisit,
    page: Page<'_>,
) -> Result<Fragment, SectionError> {
    // An invalid cursor is that of the first page.
    let cursor: Option<Cursor> = visit.field("after").and_then(|cursor| cursor.parse().ok());
    let limit = page_size();
    let listing = Listing { limit, cursor, tag: None };
    let found = store::list(&state.db_for(visit.user()), visit.user(), listing).await;
    let found = found.map_err(section_error)?;
    let notes: Vec<_> = found
        .notes
        .into_iter()
        .map(|note| ShownNote::new(note.id, note.title, note.excerpt, &note.tags, note.updated_at))
        .collect();
    let next = found.next_cursor.map(|cursor| cursor.to_string());
    let page = Page { notes: &notes, is_later: cursor.is_some(), next, ..page };
    fragment("Your notes", &page)
}

async fn search(
    state: &State,
    visit: &SectionVisit,
    page: Page<'_>,
) -> Result<Fragment, SectionError> {
    let words = match SearchQuery::parse(page.query) {
        Ok(words) => words,
        Err(problem) => {
            let page = Page { problem: Some(problem.to_string()), ..page };
            return fragment("Search your notes", &page);
        }
    };
    let found = store::find(state, visit.user(), &words, page_size()).await;
    let found = found.map_err(section_error)?;
    let notes: Vec<_> = found
        .notes
        .into_iter()
        .map(|hit| {
            let snippet = hit.snippet.replace(MARK, "");
            ShownNote::new(hit.id, hit.title, snippet, &hit.tags, hit.updated_at)
        })
        .collect();
    fragment("Search your notes", &Page { notes: &notes, more: found.more, ..page })
}

fn page_size() -> PageSize {
    PageSize::new(PAGE).expect("the constant is a valid size")
}
