//! GitHub's token of a person.

use sea_orm::entity::prelude::*;

/// A row of `github_tokens`, which has any only while membership of an organisation decides who may
/// come in.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "github_tokens")]
pub struct Model {
    /// The `sub` of the person.
    #[sea_orm(primary_key, auto_increment = false, column_type = "Text")]
    pub user_sub: String,
    /// The token, sealed.
    pub sealed: Vec<u8>,
    /// When GitHub gave it.
    pub updated_at: DateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}
