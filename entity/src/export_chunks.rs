//! A piece of a file.

use sea_orm::entity::prelude::*;

use crate::ExportId;

/// A row of `export_chunks`. It goes with the row of its file.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "export_chunks")]
pub struct Model {
    /// Of which file.
    #[sea_orm(primary_key, auto_increment = false)]
    pub export_id: ExportId,
    /// Where in it, from 0.
    #[sea_orm(primary_key, auto_increment = false)]
    pub number: i32,
    /// What stands there.
    pub bytes: Vec<u8>,
}

impl ActiveModelBehavior for ActiveModel {}
