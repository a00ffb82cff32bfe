//! OAuth clients.

use sea_orm::entity::prelude::*;

use crate::{ClientId, Digest};

/// A row of `oauth_clients`: the metadata with which a client registered, or the content of its
/// metadata document when a user last approved it.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "oauth_clients")]
pub struct Model {
    /// The `client_id`.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: ClientId,
    /// How the client is identified.
    pub kind: Kind,
    /// The stored part of the RFC 7591 metadata.
    #[sea_orm(column_type = "JsonBinary")]
    pub metadata: Json,
    /// The hash of the metadata, by which changes are detected.
    pub metadata_hash: Digest,
    /// The hash of the client secret, if it has one.
    pub secret_hash: Option<Digest>,
    /// When the row was created.
    pub created_at: DateTimeUtc,
    /// When its metadata document was last fetched.
    pub fetched_at: Option<DateTimeUtc>,
    /// When a token was last issued to it, to the hour.
    pub last_used_at: Option<DateTimeUtc>,
    /// When it is deleted unless it is used before; `None` if it does not expire.
    pub expires_at: Option<DateTimeUtc>,
    /// When an operator disabled it.
    pub disabled_at: Option<DateTimeUtc>,
}

/// How a client is identified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum Kind {
    /// An operator configured it.
    #[sea_orm(string_value = "preregistered")]
    Preregistered,
    /// It registered itself (RFC 7591).
    #[sea_orm(string_value = "dynamic")]
    Dynamic,
    /// Its id is the URL of its metadata document.
    #[sea_orm(string_value = "metadata_document")]
    MetadataDocument,
}

impl ActiveModelBehavior for ActiveModel {}
