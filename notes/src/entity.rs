//! A note of one person.

use sea_orm::{FromJsonQueryResult, entity::prelude::*};
use serde::{Deserialize, Serialize};

use crate::note_id::NoteId;

/// A row of `notes`. The search index is a column (Postgres) or a table (SQLite) that the database
/// keeps by itself, so it is no part of the row.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "notes")]
pub struct Model {
    /// Made by the service, not by the database.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: NoteId,
    /// The `sub` of the person it belongs to.
    #[sea_orm(column_type = "Text")]
    pub owner_sub: String,
    /// One line.
    #[sea_orm(column_type = "Text")]
    pub title: String,
    /// Plain text or Markdown.
    #[sea_orm(column_type = "Text")]
    pub body: String,
    /// In the order in which the person gave them.
    #[sea_orm(column_type = "JsonBinary")]
    pub tags: TagList,
    /// When it was created, to the microsecond.
    pub created_at: DateTimeUtc,
    /// When title, body or tags were last written.
    pub updated_at: DateTimeUtc,
}

/// The tags of a note: a JSON array of strings, `jsonb` on Postgres and text on SQLite. JSON rather
/// than an array type because it is the one form that both databases can hold and look into.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, FromJsonQueryResult)]
#[serde(transparent)]
pub struct TagList(pub Vec<String>);

impl ActiveModelBehavior for ActiveModel {}

impl Entity {
    /// The notes of one person: where every query for notes begins.
    pub fn owned_by(owner: &str) -> Select<Self> {
        Self::find().filter(COLUMN.owner_sub.eq(owner))
    }

    /// One note, if it is this person's.
    pub fn owned(owner: &str, id: NoteId) -> Select<Self> {
        Self::owned_by(owner).filter(COLUMN.id.eq(id))
    }

    /// A change of one note, if it is this person's.
    pub fn update_owned(owner: &str, id: NoteId) -> sea_orm::UpdateMany<Self> {
        Self::update_many().filter(COLUMN.owner_sub.eq(owner)).filter(COLUMN.id.eq(id))
    }

    /// The deletion of one note, if it is this person's.
    pub fn delete_owned(owner: &str, id: NoteId) -> sea_orm::DeleteMany<Self> {
        Self::delete_many().filter(COLUMN.owner_sub.eq(owner)).filter(COLUMN.id.eq(id))
    }
}
