//! A file that a user can download.

use sea_orm::entity::prelude::*;

use crate::{Digest, DownloadId, GrantId, Kid};

/// A row of `exports`. The file can be downloaded once the row has a token. The table and its
/// column `notes` are named after the first kind of file that was offered.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "exports")]
pub struct Model {
    /// The id.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: DownloadId,
    /// The `sub` of the owner.
    #[sea_orm(column_type = "Text")]
    pub owner_sub: String,
    /// The grant of the access token that created it; `None` if the token had none.
    pub grant_id: Option<GrantId>,
    /// The key that signed that token.
    pub key_id: Option<Kid>,
    /// The file name for saving.
    #[sea_orm(column_type = "Text")]
    pub file_name: String,
    /// The media type, such as `application/zip`.
    #[sea_orm(column_type = "Text")]
    pub media_type: String,
    /// The size in bytes.
    pub bytes: i64,
    /// The number of rows in `export_chunks`.
    pub chunks: i32,
    /// The number of items in the file.
    #[sea_orm(column_name = "notes")]
    pub items: i64,
    /// The hash of the token in the URL; `None` while the file is being written.
    pub token_hash: Option<Digest>,
    /// When writing began.
    pub created_at: DateTimeUtc,
    /// When it is deleted.
    pub expires_at: DateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}

impl Entity {
    /// Selects the files of a user.
    pub fn owned_by(owner: &str) -> Select<Self> {
        Self::find().filter(COLUMN.owner_sub.eq(owner))
    }

    /// Deletes all files of a user.
    pub fn delete_owned_by(owner: &str) -> sea_orm::DeleteMany<Self> {
        Self::delete_many().filter(COLUMN.owner_sub.eq(owner))
    }
}
