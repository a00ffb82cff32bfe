//! The refresh tokens of grants.

use sea_orm::entity::prelude::*;

use crate::{Digest, GrantId};

/// A row of `oauth_refresh_tokens`. Used tokens are kept as long as their grant, so that the reuse
/// of a stolen token is detected.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "oauth_refresh_tokens")]
pub struct Model {
    /// The hash of the token.
    #[sea_orm(primary_key, auto_increment = false)]
    pub token_hash: Digest,
    /// The grant that it belongs to.
    pub grant_id: GrantId,
    /// 1 for the token that was issued with the code; each successor has the next number.
    pub generation: i32,
    /// When it was issued.
    pub issued_at: DateTimeUtc,
    /// When it was exchanged for its successor.
    pub used_at: Option<DateTimeUtc>,
    /// When it was replaced because the client never received it.
    pub superseded_at: Option<DateTimeUtc>,
    /// The successor, encrypted with a key derived from this token, so that only its holder can
    /// read it.
    pub successor_sealed: Option<Vec<u8>>,
}

impl ActiveModelBehavior for ActiveModel {}

impl Entity {
    /// Selects the tokens of a grant.
    pub fn of(grant: GrantId) -> Select<Self> {
        Self::find().filter(COLUMN.grant_id.eq(grant))
    }

    /// Updates the tokens of a grant.
    pub fn update_of(grant: GrantId) -> sea_orm::UpdateMany<Self> {
        Self::update_many().filter(COLUMN.grant_id.eq(grant))
    }
}
