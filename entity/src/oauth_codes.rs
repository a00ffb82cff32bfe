//! Authorization codes that have not been redeemed.

use sea_orm::entity::prelude::*;

use crate::{ClientId, Digest};

/// A row of `oauth_codes`. It is deleted when the code is redeemed; the grant keeps the hash.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "oauth_codes")]
pub struct Model {
    /// The hash of the code.
    #[sea_orm(primary_key, auto_increment = false)]
    pub code_hash: Digest,
    /// The client that may redeem it.
    pub client_id: ClientId,
    /// The `sub` of the user who approved.
    #[sea_orm(column_type = "Text")]
    pub user_sub: String,
    /// Where the code was sent, exactly as the client wrote it.
    #[sea_orm(column_type = "Text")]
    pub redirect_uri: String,
    /// Unused: always `true`, and read by no version. The column has no default and must be
    /// written, and earlier versions write it, too.
    pub redirect_uri_was_sent: bool,
    /// The PKCE code challenge: 32 bytes.
    pub code_challenge: Vec<u8>,
    /// The granted scopes, separated by spaces.
    #[sea_orm(column_type = "Text")]
    pub scope: String,
    /// The resource that the tokens are for.
    #[sea_orm(column_type = "Text")]
    pub resource: String,
    /// When the user signed in.
    pub auth_time: DateTimeUtc,
    /// When the access policy admitted the user; `None` if no policy is set.
    pub gate_checked_at: Option<DateTimeUtc>,
    /// The number of times that it was presented with a wrong code verifier.
    pub attempts: i32,
    /// When it was issued.
    pub created_at: DateTimeUtc,
    /// When it expires.
    pub expires_at: DateTimeUtc,
    /// The thumbprint of the only key whose proof the code can be redeemed with (RFC 9449, section
    /// 10); `None`: it can be redeemed with any key, and without a proof.
    #[sea_orm(column_type = "Text", nullable)]
    pub dpop_jkt: Option<String>,
}

impl ActiveModelBehavior for ActiveModel {}

impl Entity {
    /// Deletes all codes of a user.
    pub fn delete_owned_by(owner: &str) -> sea_orm::DeleteMany<Self> {
        Self::delete_many().filter(COLUMN.user_sub.eq(owner))
    }
}
