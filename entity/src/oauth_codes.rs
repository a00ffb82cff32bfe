//! An authorization code that waits to be redeemed.

use sea_orm::entity::prelude::*;

use crate::{ClientId, Digest};

/// A row of `oauth_codes`. It is deleted when the code is redeemed: what remains is the hash in the
/// grant.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "oauth_codes")]
pub struct Model {
    /// The hash of the code.
    #[sea_orm(primary_key, auto_increment = false)]
    pub code_hash: Digest,
    /// The client that may redeem it.
    pub client_id: ClientId,
    /// The `sub` of the person who agreed.
    #[sea_orm(column_type = "Text")]
    pub user_sub: String,
    /// Where the code was sent, exactly as the client gave it.
    #[sea_orm(column_type = "Text")]
    pub redirect_uri: String,
    /// Not used: always `true`, and never read by any version. The column is required and has no
    /// default, and earlier versions write it.
    pub redirect_uri_was_sent: bool,
    /// The challenge of PKCE: 32 bytes.
    pub code_challenge: Vec<u8>,
    /// What the person agreed to, separated by spaces.
    #[sea_orm(column_type = "Text")]
    pub scope: String,
    /// The resource that the tokens are for.
    #[sea_orm(column_type = "Text")]
    pub resource: String,
    /// When the person signed in.
    pub auth_time: DateTimeUtc,
    /// When it was found that they may come in.
    pub gate_checked_at: Option<DateTimeUtc>,
    /// How often it was presented with a wrong verifier.
    pub attempts: i32,
    /// When it was issued.
    pub created_at: DateTimeUtc,
    /// From when on it is worth nothing.
    pub expires_at: DateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}

impl Entity {
    /// The deletion of all codes of one person.
    pub fn delete_owned_by(owner: &str) -> sea_orm::DeleteMany<Self> {
        Self::delete_many().filter(COLUMN.user_sub.eq(owner))
    }
}
