//! When all access of a user was last revoked.

use sea_orm::entity::prelude::*;

/// A row of `access_cutoffs`: everything that was issued to the user up to `cutoff_at` is invalid.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "access_cutoffs")]
pub struct Model {
    /// The `sub` of the user.
    #[sea_orm(primary_key, auto_increment = false, column_type = "Text")]
    pub user_sub: String,
    /// The time of the last revocation. It is never set to an earlier time.
    pub cutoff_at: DateTimeUtc,
    /// The reason, as one word.
    #[sea_orm(column_type = "Text")]
    pub reason: String,
}

impl ActiveModelBehavior for ActiveModel {}
