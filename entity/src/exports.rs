//! A file of one person's notes, to be fetched.

use sea_orm::entity::prelude::*;

use crate::{Digest, ExportId, GrantId, Kid};

/// A row of `exports`. It can be fetched from the moment that it has a token.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "exports")]
pub struct Model {
    /// Which file.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: ExportId,
    /// The `sub` of the person it belongs to.
    #[sea_orm(column_type = "Text")]
    pub owner_sub: String,
    /// The grant of the access token that it was made with; `None` if the token had none, or in rows
    /// of versions before this column.
    pub grant_id: Option<GrantId>,
    /// The key that signed that token; `None` in rows of versions before this column.
    pub key_id: Option<Kid>,
    /// What it is called when it is saved.
    #[sea_orm(column_type = "Text")]
    pub file_name: String,
    /// Such as `application/zip`.
    #[sea_orm(column_type = "Text")]
    pub media_type: String,
    /// Its size.
    pub bytes: i64,
    /// In how many rows of `export_chunks` it is.
    pub chunks: i32,
    /// How many notes are in it.
    pub notes: i64,
    /// The hash of what its address ends with; nothing while it is being written.
    pub token_hash: Option<Digest>,
    /// When somebody began to write it.
    pub created_at: DateTimeUtc,
    /// From when on it is gone.
    pub expires_at: DateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}

impl Entity {
    /// The files of one person.
    pub fn owned_by(owner: &str) -> Select<Self> {
        Self::find().filter(COLUMN.owner_sub.eq(owner))
    }

    /// The deletion of all files of one person.
    pub fn delete_owned_by(owner: &str) -> sea_orm::DeleteMany<Self> {
        Self::delete_many().filter(COLUMN.owner_sub.eq(owner))
    }
}
