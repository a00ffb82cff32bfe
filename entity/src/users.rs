//! A person who has signed in.

use sea_orm::entity::prelude::*;

/// A row of `users`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "users")]
pub struct Model {
    /// The `sub` of their access tokens: `github:<numeric id>`, or `dev:<name>` in development.
    #[sea_orm(primary_key, auto_increment = false, column_type = "Text")]
    pub sub: String,
    /// The name they sign in with. It can change and can pass to somebody else, so it is shown and
    /// never compared.
    #[sea_orm(column_type = "Text")]
    pub login: String,
    /// The name they want to be called by, if they gave one.
    #[sea_orm(column_type = "Text", nullable)]
    pub display_name: Option<String>,
    /// First sign-in.
    pub created_at: DateTimeUtc,
    /// Last sign-in.
    pub last_seen_at: DateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}
