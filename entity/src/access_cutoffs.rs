//! When a person's access was last ended as a whole.

use sea_orm::entity::prelude::*;

/// A row of `access_cutoffs`: everything issued to the person up to `cutoff_at` is void.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "access_cutoffs")]
pub struct Model {
    /// The `sub` of the person.
    #[sea_orm(primary_key, auto_increment = false, column_type = "Text")]
    pub user_sub: String,
    /// The moment. Only moves forward.
    pub cutoff_at: DateTimeUtc,
    /// Why, in one word.
    #[sea_orm(column_type = "Text")]
    pub reason: String,
}

impl ActiveModelBehavior for ActiveModel {}
