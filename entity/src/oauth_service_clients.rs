//! Clients of operators that act for themselves (client credentials).

use sea_orm::entity::prelude::*;

use crate::{ClientId, Digest};

/// A row of `oauth_service_clients`. Exactly one of `secret_hash`, `jwks` and `jwks_uri` is set: it is
/// how the client authenticates.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "oauth_service_clients")]
pub struct Model {
    /// The `client_id`.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: ClientId,
    /// The name that the operator chose. Several clients may have the same one.
    #[sea_orm(column_type = "Text")]
    pub name: String,
    /// The `sub` of its tokens: `service:<name>`.
    #[sea_orm(column_type = "Text")]
    pub account_sub: String,
    /// The scopes that it may have, separated by spaces.
    #[sea_orm(column_type = "Text")]
    pub scope: String,
    /// The hash of its secret.
    pub secret_hash: Option<Digest>,
    /// Its public keys (a JWK Set).
    #[sea_orm(column_type = "JsonBinary", nullable)]
    pub jwks: Option<Json>,
    /// The URL of its public keys.
    #[sea_orm(column_type = "Text", nullable)]
    pub jwks_uri: Option<String>,
    /// When it was created.
    pub created_at: DateTimeUtc,
    /// When it last got a token.
    pub last_used_at: Option<DateTimeUtc>,
    /// When an operator revoked it.
    pub revoked_at: Option<DateTimeUtc>,
}

impl ActiveModelBehavior for ActiveModel {}
