//! The statements that change notes, one each, so that the database settles every race. They are
//! private to the verbs, which publish what they changed.

use chrono::{DateTime, Utc};
use entity::{
    NoteId,
    notes::{Column, Entity, Model},
};
use mcp::UserId;
use sea_orm::{ConnectionTrait, EntityTrait as _, IntoActiveModel as _, sea_query::Expr};
use uuid::{NoContext, Timestamp, Uuid};

use super::{Changes, Draft, Note, NotesError};

pub(super) async fn insert(
    db: &impl ConnectionTrait,
    owner: &UserId,
    now: DateTime<Utc>,
    draft: Draft,
) -> Result<Note, NotesError> {
    let row = Model {
        id: new_id(now),
        owner_sub: owner.as_str().to_owned(),
        title: draft.title.into_string(),
        body: draft.body.into_string(),
        tags: draft.tags.into_list(),
        created_at: now,
        updated_at: now,
    };
    Entity::insert(row.clone().into_active_model()).exec_without_returning(db).await?;
    Ok(row.into())
}

pub(super) async fn update(
    db: &impl ConnectionTrait,
    owner: &UserId,
    now: DateTime<Utc>,
    id: NoteId,
    changes: Changes,
) -> Result<Note, NotesError> {
    let mut update =
        Entity::update_owned(owner.as_str(), id).col_expr(Column::UpdatedAt, Expr::value(now));
    if let Some(title) = changes.title {
        update = update.col_expr(Column::Title, Expr::value(title.into_string()));
    }
    if let Some(body) = changes.body {
        update = update.col_expr(Column::Body, Expr::value(body.into_string()));
    }
    if let Some(tags) = changes.tags {
        update = update.col_expr(Column::Tags, Expr::value(tags.into_list()));
    }
    only(update.exec_with_returning(db).await?)
}

pub(super) async fn delete(
    db: &impl ConnectionTrait,
    owner: &UserId,
    id: NoteId,
) -> Result<Note, NotesError> {
    only(Entity::delete_owned(owner.as_str(), id).exec_with_returning(db).await?)
}

/// The one row that a statement about one id returned, if it did.
fn only(rows: Vec<Model>) -> Result<Note, NotesError> {
    rows.into_iter().next().map(Note::from).ok_or(NotesError::NotFound)
}

fn new_id(now: DateTime<Utc>) -> NoteId {
    let seconds = now.timestamp().try_into().unwrap_or_default();
    NoteId(Uuid::new_v7(Timestamp::from_unix(NoContext, seconds, now.timestamp_subsec_nanos())))
}
