//! The statements that change single notes, one per operation, so that the database serializes
//! concurrent changes. Private to [`super`], whose functions publish what was changed.

use chrono::{DateTime, Utc};
use mcp::UserId;
use platform::db::{self, Database, Transaction};
use sea_orm::{
    ConnectionTrait, DbBackend, QuerySelect as _,
    sea_query::{Expr, OnConflict},
};
use uuid::{NoContext, Timestamp, Uuid};

use super::{
    Changes, Draft, Note, NotesError, index,
    quota::{self, Amount, QuotaUsage},
};
use crate::{
    State,
    entity::{Column, Entity, Model},
    note_id::NoteId,
};

/// Inserts a note. On Postgres this takes one statement, and a transaction of several only for the
/// first note of a user and for a note beyond the quota.
pub(super) async fn insert(
    state: &State,
    owner: &UserId,
    draft: Draft,
) -> Result<Note, NotesError> {
    let (db, now) = (state.db_for(owner), state.clock().now());
    let row = Model {
        id: new_id(now),
        owner_sub: owner.as_str().to_owned(),
        title: draft.title.into_string(),
        body: draft.body.into_string(),
        tags: draft.tags.into_list(),
        created_at: now,
        updated_at: now,
    };
    if db.get_database_backend() == DbBackend::Postgres {
        let insert = index::insert_within(&row, state.quota());
        if db.execute_idempotent(insert).await?.rows_affected() == 1 {
            return Ok(row.into());
        }
    }
    // On SQLite; the first note of a user; beyond the quota; or after a repeated statement whose
    // first execution wrote the note.
    //
    // Built before the transaction begins, because splitting a text into words takes milliseconds.
    let mut insert = index::insert(db.get_database_backend(), [row.clone()]);
    insert.on_conflict(OnConflict::column(Column::Id).do_nothing().to_owned());
    let transaction = db::begin(&db).await?;
    transaction.execute(&insert).await?;
    commit_within_quota(&db, transaction, owner, state.quota()).await?;
    Ok(row.into())
}

/// Reads and changes a note in one transaction: its search index is computed from all of its
/// fields.
pub(super) async fn update(
    state: &State,
    owner: &UserId,
    id: NoteId,
    changes: Changes,
) -> Result<Note, NotesError> {
    let (db, now) = (state.db_for(owner), state.clock().now());
    let transaction = db::begin(&db).await?;
    let found = Entity::owned(owner.as_str(), id).lock_exclusive().one(&transaction).await?;
    let mut row = found.ok_or(NotesError::NotFound)?;
    let size = size_of(&row);
    row.updated_at = now;
    if let Some(title) = changes.title {
        row.title = title.into_string();
    }
    if let Some(body) = changes.body {
        row.body = body.into_string();
    }
    if let Some(tags) = changes.tags {
        row.tags = tags.into_list();
    }
    Entity::update_owned(owner.as_str(), id)
        .col_expr(index::search_column(), index::search_value(db.get_database_backend(), &row))
        .col_expr(index::version_column(), Expr::value(index::VERSION))
        .col_expr(Column::Title, Expr::value(row.title.clone()))
        .col_expr(Column::Body, Expr::value(row.body.clone()))
        .col_expr(Column::Tags, Expr::value(row.tags.clone()))
        .col_expr(Column::UpdatedAt, Expr::value(row.updated_at))
        .exec(&transaction)
        .await?;
    if size_of(&row) > size {
        commit_within_quota(&db, transaction, owner, state.quota()).await?;
    } else {
        transaction.commit().await?;
    }
    Ok(row.into())
}

/// Commits a transaction that created or enlarged notes. Rolls back with [`NotesError::Full`] if it
/// exceeds the quota.
async fn commit_within_quota(
    db: &Database,
    transaction: Transaction,
    owner: &UserId,
    quota: Amount,
) -> Result<(), NotesError> {
    if quota::is_exceeded(&transaction, owner, quota).await? {
        transaction.rollback().await?;
        return Err(NotesError::Full(QuotaUsage { used: quota::usage(db, owner).await?, quota }));
    }
    Ok(transaction.commit().await?)
}

/// Returns the size of a note in bytes, for comparison with another version of the same note.
fn size_of(note: &Model) -> usize {
    let tags: usize = note.tags.0.iter().map(String::len).sum();
    note.title.len() + note.body.len() + tags
}

pub(super) async fn delete(
    db: &impl ConnectionTrait,
    owner: &UserId,
    id: NoteId,
) -> Result<Note, NotesError> {
    only(Entity::delete_owned(owner.as_str(), id).exec_with_returning(db).await?)
}

/// Returns the row that a statement about one id returned. `NotFound`: it returned none.
fn only(rows: Vec<Model>) -> Result<Note, NotesError> {
    rows.into_iter().next().map(Note::from).ok_or(NotesError::NotFound)
}

fn new_id(now: DateTime<Utc>) -> NoteId {
    let seconds = now.timestamp().try_into().unwrap_or_default();
    NoteId(Uuid::new_v7(Timestamp::from_unix(NoContext, seconds, now.timestamp_subsec_nanos())))
}
