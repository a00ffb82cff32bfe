//! A chunk of a file for download.

use sea_orm::entity::prelude::*;

use crate::DownloadId;

/// A row of `export_chunks`. It is deleted with the row of its file.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "export_chunks")]
pub struct Model {
    /// The file.
    #[sea_orm(primary_key, auto_increment = false)]
    pub export_id: DownloadId,
    /// The position of the chunk, from 0.
    #[sea_orm(primary_key, auto_increment = false)]
    pub number: i32,
    /// The content.
    pub bytes: Vec<u8>,
}

impl ActiveModelBehavior for ActiveModel {}
