//! Keys that sign access tokens.

use sea_orm::entity::prelude::*;

use crate::Kid;

/// A row of `oauth_signing_keys`. The public key is not encrypted, so every instance can verify
/// tokens, even one whose secret cannot decrypt the private key.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "oauth_signing_keys")]
pub struct Model {
    /// The RFC 7638 thumbprint of the public key.
    #[sea_orm(primary_key, auto_increment = false)]
    pub kid: Kid,
    /// The JOSE algorithm: `ES256`.
    #[sea_orm(column_type = "Text")]
    pub alg: String,
    /// The public key as it is published.
    #[sea_orm(column_type = "JsonBinary")]
    pub public_jwk: Json,
    /// The encrypted private key; `None` after it has been deleted.
    pub private_sealed: Option<Vec<u8>>,
    /// The id of the key-encryption key that encrypts it.
    #[sea_orm(column_type = "Text")]
    pub kek_id: String,
    /// The state of the key.
    pub state: State,
    /// When it was created.
    pub created_at: DateTimeUtc,
    /// When it may begin to sign.
    pub activate_at: DateTimeUtc,
    /// When the last token that it signed expires; `None` while it may still sign.
    pub retire_at: Option<DateTimeUtc>,
    /// When the private key was deleted.
    pub wiped_at: Option<DateTimeUtc>,
    /// When it last signed, to the minute.
    pub last_signed_at: Option<DateTimeUtc>,
    /// When a successor is to replace it; `None` if no replacement was requested.
    pub replace_at: Option<DateTimeUtc>,
}

/// The states of a signing key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum State {
    /// Published, not signing yet.
    #[sea_orm(string_value = "pending")]
    Pending,
    /// Published and signing: one at a time for each key-encryption key.
    #[sea_orm(string_value = "active")]
    Active,
    /// Published, does not sign any more.
    #[sea_orm(string_value = "retiring")]
    Retiring,
    /// Neither published nor trusted; the row is kept as a record.
    #[sea_orm(string_value = "retired")]
    Retired,
    /// Revoked, because it leaked: neither published nor trusted, effective immediately.
    #[sea_orm(string_value = "revoked")]
    Revoked,
}

impl State {
    /// The states in which signatures are accepted.
    pub const TRUSTED: [Self; 3] = [Self::Pending, Self::Active, Self::Retiring];
}

impl ActiveModelBehavior for ActiveModel {}

impl Entity {
    /// Selects the keys that are published and whose signatures are accepted, oldest first.
    pub fn trusted() -> Select<Self> {
        use sea_orm::QueryOrder;
        Self::find()
            .filter(COLUMN.state.is_in(State::TRUSTED))
            .order_by_asc(COLUMN.created_at)
            .order_by_asc(COLUMN.kid)
    }
}
