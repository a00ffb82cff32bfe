//! A program that people connect.

use sea_orm::entity::prelude::*;

use crate::{ClientId, Digest};

/// A row of `oauth_clients`: what a client said about itself when it registered, or what its
/// metadata document said when somebody last agreed to it.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "oauth_clients")]
pub struct Model {
    /// Its `client_id`.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: ClientId,
    /// How we know it.
    pub kind: Kind,
    /// The metadata of RFC 7591 that we keep.
    #[sea_orm(column_type = "JsonBinary")]
    pub metadata: Json,
    /// The hash of the metadata, which tells whether it has changed.
    pub metadata_hash: Digest,
    /// The hash of its secret, if it has one.
    pub secret_hash: Option<Digest>,
    /// When it came to be known.
    pub created_at: DateTimeUtc,
    /// When its metadata document was last fetched.
    pub fetched_at: Option<DateTimeUtc>,
    /// When a token was last given to it, to the hour.
    pub last_used_at: Option<DateTimeUtc>,
    /// From when on it is forgotten unless it is used; nothing if it stays.
    pub expires_at: Option<DateTimeUtc>,
    /// When an operator shut it out.
    pub disabled_at: Option<DateTimeUtc>,
}

/// How a client came to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum Kind {
    /// An operator wrote it into the configuration.
    #[sea_orm(string_value = "preregistered")]
    Preregistered,
    /// It registered itself (RFC 7591).
    #[sea_orm(string_value = "dynamic")]
    Dynamic,
    /// Its id is the address of its metadata document.
    #[sea_orm(string_value = "metadata_document")]
    MetadataDocument,
}

impl ActiveModelBehavior for ActiveModel {}
