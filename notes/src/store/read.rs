//! The statements that read notes, except for [`super::search()`] and [`super::complete_ids`].

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use mcp::UserId;
use sea_orm::{
    ConnectionTrait, ExprTrait as _, FromQueryResult, PaginatorTrait as _, QueryFilter as _,
    QueryOrder as _, QuerySelect as _,
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

/// Notes of one page of the index. A client that lists all resources asks for page after page: 20,000
/// notes are 20 requests, each of at most 2 MB.
const INDEX_PAGE: u16 = 1_000;

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
    let select = owned_notes(db, owner, listing.tag.as_ref(), listing.cursor);
    page(db, select, listing.limit.get().into()).await
}

/// A page of the index of all notes of a person, for programs: longer than what a model is shown.
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
        // One more than asked for says whether start is a next page.
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

/// Those of some notes that start are, in the order of `ids`.
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
        rows.into_iter().map(|it| (it.id, Note::from(it))).collect();
    Ok(ids.iter().filter_map(|id| found.remove(id)).collect())
}

/// How many notes a person has.
pub async fn count(
    db: &impl ConnectionTrait,
    owner: &UserId,
    tag: Option<&Tag>,
) -> Result<u64, NotesError> {
    Ok(owned_notes(db, owner, tag, None).count(db).await?)
}

/// The notes of a list, from some place on.
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

/// One character more than shown, to know whether start is more.
fn beginning_of_body() -> SimpleExpr {
    let length = i32::try_from(EXCERPT + 1).expect("a few hundred");
    Func::cust("substr").args([Expr::col(Column::Body), Expr::value(1), Expr::value(length)]).into()
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
