//! The statements that read notes, except for [`super::search()`] and [`super::complete_ids`].

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use mcp::UserId;
use sea_orm::{
    ConnectionTrait, ExprTrait as _, PaginatorTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _,
    sea_query::{Expr, Func, SimpleExpr},
};

use super::{
    cursor::Cursor,
    error::NotesError,
    excerpt::{EXCERPT, excerpt},
    note::{Listing, Note, NoteSummary, Page},
    search,
    text::Tag,
};
use crate::{
    entity::{Column, Entity, TagList},
    note_id::NoteId,
};

/// The number of notes on a page of the index. A client that lists all resources requests page
/// after page: 20,000 notes take 20 requests of at most 2 MB each.
const INDEX_PAGE: u16 = 1_000;

/// Returns a note.
pub async fn get(
    db: &impl ConnectionTrait,
    owner: &UserId,
    id: NoteId,
) -> Result<Note, NotesError> {
    let note = Entity::owned(owner.as_str(), id).one(db).await?;
    note.map(Note::from).ok_or(NotesError::NotFound)
}

/// Returns a page of notes, newest first, with one statement.
pub async fn list(
    db: &impl ConnectionTrait,
    owner: &UserId,
    listing: Listing,
) -> Result<Page, NotesError> {
    let select = owned_notes(db, owner, listing.tag.as_ref(), listing.cursor);
    page(db, select, listing.limit.get().into()).await
}

/// Returns a page of all notes of a user, for `resources/list`: longer than a page of [`list`],
/// because it is meant for programs, not for a model.
pub async fn index(
    db: &impl ConnectionTrait,
    owner: &UserId,
    cursor: Option<Cursor>,
) -> Result<Page, NotesError> {
    page(db, owned_notes(db, owner, None, cursor), INDEX_PAGE).await
}

async fn page(
    db: &impl ConnectionTrait,
    select: sea_orm::Select<Entity>,
    limit: u16,
) -> Result<Page, NotesError> {
    let mut rows = summaries(select)
        // One additional row tells whether there is a next page.
        .limit(u64::from(limit) + 1)
        .into_tuple::<SummaryRow>()
        .all(db)
        .await?;
    let more = rows.len() > usize::from(limit);
    rows.truncate(limit.into());
    let last = rows.last().filter(|_| more);
    let next_cursor = last.map(|(id, _, _, created_at, ..)| Cursor::new(*created_at, *id));
    Ok(Page { notes: rows.into_iter().map(summary).collect(), next_cursor })
}

/// Returns up to `limit` full notes after a position in the list, newest first.
pub async fn list_full(
    db: &impl ConnectionTrait,
    owner: &UserId,
    tag: Option<&Tag>,
    after: Option<Cursor>,
    limit: u64,
) -> Result<Vec<Note>, NotesError> {
    let rows = owned_notes(db, owner, tag, after)
        .order_by_desc(Column::CreatedAt)
        .order_by_desc(Column::Id)
        .limit(limit)
        .all(db)
        .await?;
    Ok(rows.into_iter().map(Note::from).collect())
}

/// Returns the notes with these ids, in the order of `ids`. Omits ids that do not exist.
pub async fn get_many(
    db: &impl ConnectionTrait,
    owner: &UserId,
    ids: &[NoteId],
) -> Result<Vec<Note>, NotesError> {
    let rows = Entity::owned_by(owner.as_str())
        .filter(Expr::col(Column::Id).is_in(ids.iter().copied()))
        .all(db)
        .await?;
    let mut found: HashMap<NoteId, Note> =
        rows.into_iter().map(|row| (row.id, Note::from(row))).collect();
    Ok(ids.iter().filter_map(|id| found.remove(id)).collect())
}

/// Counts the notes of a user, or those with a tag.
pub async fn count(
    db: &impl ConnectionTrait,
    owner: &UserId,
    tag: Option<&Tag>,
) -> Result<u64, NotesError> {
    Ok(owned_notes(db, owner, tag, None).count(db).await?)
}

/// Selects the notes of a user, optionally only those with a tag and those after a cursor.
fn owned_notes(
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
        let position = [Expr::col(Column::CreatedAt), Expr::col(Column::Id)];
        let start = [Expr::value(created_at), Expr::value(id)];
        select = select.filter(Expr::tuple(position).lt(Expr::tuple(start)));
    }
    select
}

/// Selects the columns of [`SummaryRow`], newest notes first.
fn summaries(select: sea_orm::Select<Entity>) -> sea_orm::Select<Entity> {
    select
        .select_only()
        .columns([Column::Id, Column::Title, Column::Tags, Column::CreatedAt, Column::UpdatedAt])
        .expr_as(beginning_of_body(), "excerpt")
        .order_by_desc(Column::CreatedAt)
        .order_by_desc(Column::Id)
}

/// The columns that [`summaries`] selects, read by position, which is faster than by name.
type SummaryRow = (NoteId, String, TagList, DateTime<Utc>, DateTime<Utc>, String);

fn summary((id, title, tags, created_at, updated_at, beginning): SummaryRow) -> NoteSummary {
    NoteSummary { id, title, excerpt: excerpt(beginning), tags: tags.0, created_at, updated_at }
}

/// Selects one character more than an excerpt has, which tells whether the text is longer.
fn beginning_of_body() -> SimpleExpr {
    let length = i32::try_from(EXCERPT + 1).expect("the constant fits into i32");
    Func::cust("substr").args([Expr::col(Column::Body), Expr::value(1), Expr::value(length)]).into()
}
