//! A refresh token of a grant.

use sea_orm::entity::prelude::*;

use crate::{Digest, GrantId};

/// A row of `oauth_refresh_tokens`. Used tokens stay for as long as their grant: they are how a
/// stolen one is noticed.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "oauth_refresh_tokens")]
pub struct Model {
    /// The hash of the token.
    #[sea_orm(primary_key, auto_increment = false)]
    pub token_hash: Digest,
    /// The grant that it belongs to.
    pub grant_id: GrantId,
    /// 1 for the token that came with the code, and one more each time.
    pub generation: i32,
    /// When it was issued.
    pub issued_at: DateTimeUtc,
    /// When it was exchanged for its successor.
    pub used_at: Option<DateTimeUtc>,
    /// When it was replaced because its client never received it.
    pub superseded_at: Option<DateTimeUtc>,
    /// The successor, sealed under this very token: only who presents it can be told.
    pub successor_sealed: Option<Vec<u8>>,
}

impl ActiveModelBehavior for ActiveModel {}

impl Entity {
    /// The tokens of one grant.
    pub fn of(grant: GrantId) -> Select<Self> {
        Self::find().filter(COLUMN.grant_id.eq(grant))
    }

    /// A change of the tokens of one grant.
    pub fn update_of(grant: GrantId) -> sea_orm::UpdateMany<Self> {
        Self::update_many().filter(COLUMN.grant_id.eq(grant))
    }
}
