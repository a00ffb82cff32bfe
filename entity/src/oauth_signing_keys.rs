//! A key that signs access tokens.

use sea_orm::entity::prelude::*;

use crate::Kid;

/// A row of `oauth_signing_keys`. The public half is in clear, so that every instance can verify
/// what the key signed, even one whose secret cannot open the private half.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "oauth_signing_keys")]
pub struct Model {
    /// The RFC 7638 thumbprint of the public half.
    #[sea_orm(primary_key, auto_increment = false)]
    pub kid: Kid,
    /// The JOSE algorithm: `ES256`.
    #[sea_orm(column_type = "Text")]
    pub alg: String,
    /// The public half as it is published.
    #[sea_orm(column_type = "JsonBinary")]
    pub public_jwk: Json,
    /// The private half, sealed; nothing once it was wiped.
    pub private_sealed: Option<Vec<u8>>,
    /// Which key-encryption key sealed it.
    #[sea_orm(column_type = "Text")]
    pub kek_id: String,
    /// Where it is in its life.
    pub state: State,
    /// When it was made.
    pub created_at: DateTimeUtc,
    /// From when on it may sign.
    pub activate_at: DateTimeUtc,
    /// From when on nothing that it signed is still valid; nothing while it may still sign.
    pub retire_at: Option<DateTimeUtc>,
    /// When the private half was wiped.
    pub wiped_at: Option<DateTimeUtc>,
    /// When it last signed, to the minute.
    pub last_signed_at: Option<DateTimeUtc>,
    /// When a successor is to take its place; nothing while nobody has asked for one.
    pub replace_at: Option<DateTimeUtc>,
}

/// The life of a signing key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum State {
    /// Published, not signing yet.
    #[sea_orm(string_value = "pending")]
    Pending,
    /// Published and signing: one at a time for each key-encryption key.
    #[sea_orm(string_value = "active")]
    Active,
    /// Published, no longer signing.
    #[sea_orm(string_value = "retiring")]
    Retiring,
    /// Neither published nor trusted; the row is kept for forensics.
    #[sea_orm(string_value = "retired")]
    Retired,
    /// Leaked: neither published nor trusted, at once.
    #[sea_orm(string_value = "revoked")]
    Revoked,
}

impl State {
    /// The states whose signatures count.
    pub const TRUSTED: [Self; 3] = [Self::Pending, Self::Active, Self::Retiring];
}

impl ActiveModelBehavior for ActiveModel {}

impl Entity {
    /// The keys that are published and whose signatures count, oldest first.
    pub fn trusted() -> Select<Self> {
        use sea_orm::QueryOrder;
        Self::find()
            .filter(COLUMN.state.is_in(State::TRUSTED))
            .order_by_asc(COLUMN.created_at)
            .order_by_asc(COLUMN.kid)
    }
}
