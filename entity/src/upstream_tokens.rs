//! Tokens of users at identity providers.

use sea_orm::entity::prelude::*;

/// A row of `github_tokens`; the name of the table dates from when GitHub was the only provider. It
/// has rows only while the access policy requires membership in an organization.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "github_tokens")]
pub struct Model {
    /// The `sub` of the user, which contains the provider.
    #[sea_orm(primary_key, auto_increment = false, column_type = "Text")]
    pub user_sub: String,
    /// The encrypted token.
    pub sealed: Vec<u8>,
    /// When the provider issued it.
    pub updated_at: DateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}
