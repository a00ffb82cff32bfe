//! The number of calls of a connected app on one day.

use sea_orm::entity::prelude::*;

use crate::GrantId;

/// A row of `oauth_calls`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "oauth_calls")]
pub struct Model {
    /// The `sub` of the user.
    #[sea_orm(primary_key, auto_increment = false, column_type = "Text")]
    pub user_sub: String,
    /// The grant of the app.
    #[sea_orm(primary_key, auto_increment = false)]
    pub grant_id: GrantId,
    /// The day in UTC, as the number of days since 1970-01-01.
    #[sea_orm(primary_key, auto_increment = false)]
    pub day: i32,
    /// The number of calls.
    pub calls: i64,
    /// The time of the last call, to a few seconds.
    pub last_at: DateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}

impl Entity {
    /// Selects the counts of a user.
    pub fn owned_by(owner: &str) -> Select<Self> {
        Self::find().filter(COLUMN.user_sub.eq(owner))
    }

    /// Deletes all counts of a user.
    pub fn delete_owned_by(owner: &str) -> sea_orm::DeleteMany<Self> {
        Self::delete_many().filter(COLUMN.user_sub.eq(owner))
    }
}
