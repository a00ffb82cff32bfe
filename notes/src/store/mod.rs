//! Notes: what a person can do with them.
//!
//! Verbs that read take a connection, so that they compose; verbs that write take the [`State`],
//! because a committed change must be told to those who listen ([`crate::changes`]), and this way
//! nobody can forget it. Every statement begins with the owner, so somebody else's note and one that
//! never existed look the same: [`NotesError::NotFound`].

use std::collections::HashMap;

pub use crate::note_id::NoteId;
use chrono::{DateTime, Utc};
use mcp::UserId;
use platform::db::{self, Failure};
use schemars::JsonSchema;
use sea_orm::{
    Condition, ConnectionTrait, DbBackend, DbErr, ExprTrait as _, FromQueryResult,
    PaginatorTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
    sea_query::{Expr, Func, SimpleExpr},
};
use serde::Serialize;
use uuid::Uuid;

use crate::{
    State,
    changes::Change,
    entity::{Column, Entity, Model, TagList},
};

mod cursor;
pub mod import;
pub mod index;
mod note_ref;
mod passages;
mod question;
pub mod quota;
mod search;
mod text;
mod write;

pub use cursor::{Cursor, NotACursor};
pub(crate) use note_ref::NoteRef;
pub use search::{Hit, Hits, MARK, find, search};
pub use text::{
    Body, DEFAULT_PAGE, MAX_BODY, MAX_PAGE, MAX_QUESTION_WORDS, MAX_TAG, MAX_TAGS, MAX_TITLE,
    MAX_WORDS, PageSize, Refused, Tag, Tags, Title, Words,
};

/// The most suggestions of a completion: what MCP allows in one answer.
pub const MAX_SUGGESTIONS: u64 = 100;

/// Notes of one page of the index. A client that lists all resources asks for page after page: 20,000
/// notes are 20 requests, each of at most 2 MB.
const INDEX_PAGE: u16 = 1_000;

/// Characters of a body that a list shows.
const EXCERPT: usize = 200;
/// A note, whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Note {
    /// The id, to name the note in other calls.
    pub id: NoteId,
    /// The title.
    pub title: String,
    /// The text, plain or Markdown.
    pub body: String,
    /// The tags.
    pub tags: Vec<String>,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

/// A note as lists show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct NoteSummary {
    /// The id, to name the note in other calls.
    pub id: NoteId,
    /// The title.
    pub title: String,
    /// The beginning of the text, at most 200 characters; it ends with “…” if there is more.
    pub excerpt: String,
    /// The tags.
    pub tags: Vec<String>,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

/// Some notes, the newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Page {
    /// The notes of this page.
    pub notes: Vec<NoteSummary>,
    /// Where the next page begins; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<Cursor>,
}

/// Which notes to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// How many at once.
    pub limit: PageSize,
    /// Where the previous page ended.
    pub cursor: Option<Cursor>,
    /// Only notes that have this tag, written exactly so.
    pub tag: Option<Tag>,
}

/// A note to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// The title.
    pub title: Title,
    /// The text.
    pub body: Body,
    /// The tags.
    pub tags: Tags,
}

/// What to change of a note. What is absent stays as it is; tags are replaced as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// A new title.
    pub title: Option<Title>,
    /// A new text.
    pub body: Option<Body>,
    /// New tags.
    pub tags: Option<Tags>,
}

/// Why a verb gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum NotesError {
    /// This person has no such note. Whether anybody has, nobody learns.
    #[error("there is no such note")]
    NotFound,
    /// The database cannot be reached, or is too busy: the same call may succeed later.
    #[error("the notes are unavailable at the moment")]
    Unavailable(#[source] DbErr),
    /// This person already asks for as much as one person may at once.
    #[error(transparent)]
    Busy(#[from] db::Busy),
    /// The person would have more than one may keep.
    #[error("the notes are full: {0}")]
    Full(quota::Used),
    /// The search took longer than one may.
    #[error("the search takes too long")]
    TooCostly,
    /// Anything else, for the log.
    #[error("the notes could not be read or written")]
    Internal(#[source] anyhow::Error),
}

impl From<Failure> for NotesError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Unavailable(error) => Self::Unavailable(error),
            Failure::Busy(busy) => Self::Busy(busy),
            Failure::Internal(error) => Self::Internal(error),
        }
    }
}

impl From<DbErr> for NotesError {
    fn from(error: DbErr) -> Self {
        Failure::from(error).into()
    }
}

/// Keeps a new note.
pub async fn create(state: &State, owner: &UserId, draft: Draft) -> Result<Note, NotesError> {
    let note = write::insert(state, owner, draft).await?;
    state.note_changed(owner, note.id, Change::Created).await;
    Ok(note)
}

/// One note, whole.
pub async fn get(
    db: &impl ConnectionTrait,
    owner: &UserId,
    id: NoteId,
) -> Result<Note, NotesError> {
    let note = Entity::owned(owner.as_str(), id).one(db).await?;
    note.map(Note::from).ok_or(NotesError::NotFound)
}

/// A page of a person's notes, the newest first, in one statement.
pub async fn list(
    db: &impl ConnectionTrait,
    owner: &UserId,
    listing: Listing,
) -> Result<Page, NotesError> {
    let select = choice(db, owner, listing.tag.as_ref(), listing.cursor);
    page(db, select, listing.limit.get().into()).await
}

/// A page of the index of all notes of a person, for programs: longer than what a model is shown.
pub async fn index(
    db: &impl ConnectionTrait,
    owner: &UserId,
    cursor: Option<Cursor>,
) -> Result<Page, NotesError> {
    page(db, choice(db, owner, None, cursor), INDEX_PAGE).await
}

async fn page(
    db: &impl ConnectionTrait,
    select: sea_orm::Select<Entity>,
    limit: u16,
) -> Result<Page, NotesError> {
    let mut rows = summaries(select)
        // One more than asked for says whether there is a next page.
        .limit(u64::from(limit) + 1)
        .into_model::<SummaryRow>()
        .all(db)
        .await?;
    let more = rows.len() > usize::from(limit);
    rows.truncate(limit.into());
    let next_cursor = rows.last().filter(|_| more).map(|it| Cursor::new(it.created_at, it.id));
    Ok(Page { notes: rows.into_iter().map(NoteSummary::from).collect(), next_cursor })
}

/// Whole notes after a place in the list, the newest first: the most that one may hold at a time.
pub async fn whole(
    db: &impl ConnectionTrait,
    owner: &UserId,
    tag: Option<&Tag>,
    after: Option<Cursor>,
    limit: u64,
) -> Result<Vec<Note>, NotesError> {
    let rows = choice(db, owner, tag, after)
        .order_by_desc(Column::CreatedAt)
        .order_by_desc(Column::Id)
        .limit(limit)
        .all(db)
        .await?;
    Ok(rows.into_iter().map(Note::from).collect())
}

/// Those of some notes that there are, in the order of `ids`.
pub async fn some(
    db: &impl ConnectionTrait,
    owner: &UserId,
    ids: &[NoteId],
) -> Result<Vec<Note>, NotesError> {
    let rows = Entity::owned_by(owner.as_str())
        .filter(Expr::col(Column::Id).is_in(ids.iter().copied()))
        .all(db)
        .await?;
    let mut found: HashMap<NoteId, Note> =
        rows.into_iter().map(|it| (it.id, Note::from(it))).collect();
    Ok(ids.iter().filter_map(|id| found.remove(id)).collect())
}

/// How many notes a person has.
pub async fn count(
    db: &impl ConnectionTrait,
    owner: &UserId,
    tag: Option<&Tag>,
) -> Result<u64, NotesError> {
    Ok(choice(db, owner, tag, None).count(db).await?)
}

/// The notes of a list, from some place on.
fn choice(
    db: &impl ConnectionTrait,
    owner: &UserId,
    tag: Option<&Tag>,
    after: Option<Cursor>,
) -> sea_orm::Select<Entity> {
    let mut select = Entity::owned_by(owner.as_str());
    if let Some(tag) = tag {
        select = select.filter(search::has_tag(db.get_database_backend(), owner, tag));
    }
    if let Some(Cursor { created_at, id }) = after {
        let here = [Expr::col(Column::CreatedAt), Expr::col(Column::Id)];
        let there = [Expr::value(created_at), Expr::value(id)];
        select = select.filter(Expr::tuple(here).lt(Expr::tuple(there)));
    }
    select
}

/// Changes a note and gives it back as it is now. Without any change this only reads.
pub async fn update(
    state: &State,
    owner: &UserId,
    id: NoteId,
    changes: Changes,
) -> Result<Note, NotesError> {
    if changes == Changes::default() {
        return get(&state.db_of(owner), owner, id).await;
    }
    let listed = changes.title.is_some();
    let note = write::update(state, owner, id, changes).await?;
    state.note_changed(owner, id, Change::Updated { listed }).await;
    Ok(note)
}

/// Replaces the tags of a note and gives it back as it is now.
pub async fn set_tags(
    state: &State,
    owner: &UserId,
    id: NoteId,
    tags: Tags,
) -> Result<Note, NotesError> {
    update(state, owner, id, Changes { tags: Some(tags), ..Changes::default() }).await
}

/// Deletes a note and gives it back as it was. Of several who try, one succeeds.
pub async fn delete(state: &State, owner: &UserId, id: NoteId) -> Result<Note, NotesError> {
    let note = write::delete(&state.db_of(owner), owner, id).await?;
    state.note_changed(owner, id, Change::Deleted).await;
    Ok(note)
}

/// Suggests ids, the newest first, for what a person has typed so far: the beginning of an id, or a
/// part of the note's title, since that is what people know.
pub async fn complete_ids(
    db: &impl ConnectionTrait,
    owner: &UserId,
    typed: &str,
) -> Result<Vec<NoteId>, NotesError> {
    let mut matches = Condition::any().add(title_contains(db.get_database_backend(), typed));
    if let Some((first, last)) = ids_that_begin_with(typed) {
        matches = matches.add(Expr::col(Column::Id).between(first, last));
    }
    let ids = Entity::owned_by(owner.as_str())
        .filter(matches)
        .select_only()
        .column(Column::Id)
        .order_by_desc(Column::CreatedAt)
        .order_by_desc(Column::Id)
        .limit(MAX_SUGGESTIONS)
        .into_tuple()
        .all(db)
        .await?;
    Ok(ids)
}

/// Suggests titles that contain what a person has typed so far, those of newer notes first, each
/// once.
pub async fn complete_titles(
    db: &impl ConnectionTrait,
    owner: &UserId,
    typed: &str,
) -> Result<Vec<String>, NotesError> {
    let titles = Entity::owned_by(owner.as_str())
        .filter(title_contains(db.get_database_backend(), typed))
        .select_only()
        .column(Column::Title)
        .group_by(Column::Title)
        .order_by_desc(Expr::col(Column::CreatedAt).max())
        .order_by_asc(Column::Title)
        .limit(MAX_SUGGESTIONS)
        .into_tuple()
        .all(db)
        .await?;
    Ok(titles)
}

/// What [`list`] reads of a note, in its order.
fn summaries(select: sea_orm::Select<Entity>) -> sea_orm::Select<Entity> {
    select
        .select_only()
        .columns([Column::Id, Column::Title, Column::Tags, Column::CreatedAt, Column::UpdatedAt])
        .expr_as(beginning_of_body(), "excerpt")
        .order_by_desc(Column::CreatedAt)
        .order_by_desc(Column::Id)
}

#[derive(FromQueryResult)]
struct SummaryRow {
    id: NoteId,
    title: String,
    excerpt: String,
    tags: TagList,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

/// One character more than shown, to know whether there is more.
fn beginning_of_body() -> SimpleExpr {
    let length = i32::try_from(EXCERPT + 1).expect("a few hundred");
    Func::cust("substr").args([Expr::col(Column::Body), Expr::value(1), Expr::value(length)]).into()
}

fn excerpt(mut beginning: String) -> String {
    if let Some((end, _)) = beginning.char_indices().nth(EXCERPT) {
        beginning.truncate(end);
        beginning.pop(); // so that “…” still fits
        beginning.push('…');
    }
    beginning
}

/// Without regard to case, as far as the database knows the alphabet. Not by LIKE, which would take
/// `%` and `_` for more than themselves.
fn title_contains(backend: DbBackend, typed: &str) -> SimpleExpr {
    let position = if backend == DbBackend::Postgres { "strpos" } else { "instr" };
    // U+0000 is in no title, and Postgres would not even take the question.
    let typed = typed.replace('\0', "\u{fffd}");
    Expr::expr(Func::cust(position).args([
        SimpleExpr::from(Func::lower(Expr::col(Column::Title))),
        SimpleExpr::from(Func::lower(Expr::value(typed))),
    ]))
    .gt(0)
}

/// The first and last id that begin with some text, if any can.
fn ids_that_begin_with(typed: &str) -> Option<(NoteId, NoteId)> {
    const LOWEST: &str = "00000000-0000-0000-0000-000000000000";
    const HIGHEST: &str = "ffffffff-ffff-ffff-ffff-ffffffffffff";
    let complete = |rest: &str| {
        let rest = rest.get(typed.len()..)?;
        let id = Uuid::try_parse(&format!("{typed}{rest}")).ok()?;
        Some(NoteId(id))
    };
    Some((complete(LOWEST)?, complete(HIGHEST)?))
}

impl Note {
    /// Where the list goes on after this note.
    pub fn cursor(&self) -> Cursor {
        Cursor::new(self.created_at, self.id)
    }
}

impl From<Model> for Note {
    fn from(row: Model) -> Self {
        Self {
            id: row.id,
            title: row.title,
            body: row.body,
            tags: row.tags.0,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

impl From<SummaryRow> for NoteSummary {
    fn from(row: SummaryRow) -> Self {
        Self {
            id: row.id,
            title: row.title,
            excerpt: excerpt(row.excerpt),
            tags: row.tags.0,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_says_when_there_is_more() {
        assert_eq!(excerpt("short".into()), "short");
        assert_eq!(excerpt("ü".repeat(EXCERPT)), "ü".repeat(EXCERPT));
        assert_eq!(excerpt("ü".repeat(EXCERPT + 1)), "ü".repeat(EXCERPT - 1) + "…");
    }

    #[test]
    fn the_beginning_of_an_id_names_a_range() {
        let (first, last) = ids_that_begin_with("0191E").unwrap();
        assert_eq!(first.to_string(), "0191e000-0000-0000-0000-000000000000");
        assert_eq!(last.to_string(), "0191efff-ffff-ffff-ffff-ffffffffffff");
        assert!(ids_that_begin_with("").is_some());
        assert!(ids_that_begin_with("01234567-89").is_some());
        let too_long = "0".repeat(37);
        for none in ["x", "012345678", "0123456-", "{01", "ü", too_long.as_str()] {
            assert_eq!(ids_that_begin_with(none), None, "{none}");
        }
    }
}
