//! Clients and their metadata.

use std::time::Duration;

use chrono::TimeDelta;
pub use entity::ClientId;
use entity::{
    Digest,
    oauth_clients::{Entity, Kind, Model},
};
use platform::{db::Failure, fetch::Unreachable};
use sea_orm::{ConnectionTrait, EntityTrait as _};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::{display_name::DisplayName, redirect_uri::RedirectUri, scope::Scopes};

/// A client that was never given a token is forgotten after this.
pub const UNUSED_LIFETIME: TimeDelta = TimeDelta::hours(24);

/// A client, as far as the rules need to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its `client_id`.
    pub id: ClientId,
    /// How we know it.
    pub kind: ClientKind,
    /// The name that it gives itself.
    pub name: DisplayName,
    /// Where answers may go.
    pub redirect_uris: Vec<RedirectUri>,
    /// What it may ask for; everything if it did not limit itself.
    pub scope: Option<Scopes>,
    /// How it proves who it is.
    pub authentication: Authentication,
    /// Whether it gets refresh tokens.
    pub may_refresh: bool,
    /// Tells whether what it says of itself has changed.
    pub metadata_hash: [u8; 32],
}

/// How a client came to be known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ClientKind {
    /// An operator of this server vouches for it.
    Preregistered,
    /// It registered itself: nobody vouches for what it says.
    Dynamic,
    /// Its metadata document vouches for it.
    MetadataDocument {
        /// The host that serves the document.
        host: String,
    },
}

/// How a client proves who it is at the token endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// Not at all: it is a program in people's hands, and PKCE has to do.
    None,
    /// By a secret in the `Authorization` header.
    SecretBasic(Digest),
    /// By a secret in the body.
    SecretPost(Digest),
}

/// What a client brought to prove who it is.
#[derive(Clone, Copy)]
pub enum Credentials<'a> {
    /// No secret.
    None,
    /// A secret in the `Authorization` header.
    Basic {
        /// The secret, form-decoded as RFC 6749, section 2.3.1, has it.
        decoded: &'a str,
        /// The same text without that step: many clients, the TypeScript SDK among them, do not
        /// encode what they send.
        verbatim: &'a str,
    },
    /// A secret in the body.
    Post(&'a str),
}

/// The proof fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the client could not be authenticated")]
pub struct BadCredentials;

/// Why a client is not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// There is no such client, or no longer.
    #[error("the client is unknown")]
    Unknown,
    /// Its metadata document cannot be used; says why in a sentence for whoever made it.
    #[error("{0}")]
    Refused(String),
    /// This server could not reach the site of its metadata document.
    #[error("the document of the client at {host} could not be fetched: {why}")]
    Unreachable {
        /// The host of the site.
        host: String,
        /// What failed.
        why: Unreachable,
    },
    /// It names a metadata document, and this server is configured not to fetch any.
    #[error("documents of clients are not fetched")]
    DocumentsOff,
    /// Too many metadata documents were fetched lately; worth another try after this long.
    #[error("too many documents of clients were fetched")]
    TooMany(Duration),
    /// Nothing can be concluded at the moment.
    #[error("the client cannot be looked up at the moment")]
    Unavailable,
}

impl From<Failure> for ClientError {
    fn from(failure: Failure) -> Self {
        tracing::error!(
            dependency = failure.dependency(), error = ?failure,
            "A client could not be looked up: {failure}"
        );
        Self::Unavailable
    }
}

/// What is kept of what a client says of itself. Written to the database: fields are only added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Metadata {
    pub(crate) client_name: DisplayName,
    pub(crate) redirect_uris: Vec<RedirectUri>,
    pub(crate) method: Method,
    pub(crate) may_refresh: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) scope: Option<Scopes>,
}

/// How a client said it would prove who it is, as it is written on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Method {
    /// `none`.
    #[serde(rename = "none")]
    None,
    /// `client_secret_basic`.
    #[serde(rename = "client_secret_basic")]
    SecretBasic,
    /// `client_secret_post`.
    #[serde(rename = "client_secret_post")]
    SecretPost,
}

impl Method {
    /// All of them as they are written on the wire, for the server's metadata.
    pub const NAMES: [&'static str; 3] = ["none", "client_secret_basic", "client_secret_post"];

    pub(crate) fn parse(name: &str) -> Option<Self> {
        match name {
            "none" => Some(Self::None),
            "client_secret_basic" => Some(Self::SecretBasic),
            "client_secret_post" => Some(Self::SecretPost),
            _ => None,
        }
    }
}

impl Metadata {
    pub(crate) fn hash(&self) -> [u8; 32] {
        let json = serde_json::to_vec(self).expect("texts and sets of texts can be written");
        Sha256::digest(json).into()
    }
}

pub(crate) fn from_row(row: Model) -> Result<Client, ClientError> {
    let metadata: Metadata = serde_json::from_value(row.metadata).map_err(|error| {
        tracing::error!(client = %row.id, "The metadata of a client cannot be read: {error}");
        ClientError::Unavailable
    })?;
    let kind = match row.kind {
        Kind::Preregistered => ClientKind::Preregistered,
        Kind::Dynamic => ClientKind::Dynamic,
        Kind::MetadataDocument => {
            ClientKind::MetadataDocument { host: host_of(row.id.as_str()).to_owned() }
        }
    };
    Ok(client(row.id, kind, metadata, row.secret_hash))
}

pub(crate) fn client(
    id: ClientId,
    kind: ClientKind,
    metadata: Metadata,
    secret: Option<Digest>,
) -> Client {
    let metadata_hash = metadata.hash();
    let authentication = match (metadata.method, secret) {
        (Method::SecretPost, Some(hash)) => Authentication::SecretPost(hash),
        (_, Some(hash)) => Authentication::SecretBasic(hash),
        (_, None) => Authentication::None,
    };
    Client {
        id,
        kind,
        name: metadata.client_name,
        redirect_uris: metadata.redirect_uris,
        scope: metadata.scope,
        authentication,
        may_refresh: metadata.may_refresh,
        metadata_hash,
    }
}

/// The host of an address that was taken as one of a metadata document.
pub(super) fn host_of(url: &str) -> &str {
    let rest = url.strip_prefix("https://").unwrap_or(url);
    rest.split(['/', '?']).next().unwrap_or(rest)
}

/// Whether somebody shows us a key that is theirs alone. The private half of each kind of key has a
/// member that the public half does not have.
pub(crate) fn holds_private_key(object: &Map<String, Value>) -> bool {
    object
        .get("jwks")
        .and_then(|it| it.get("keys"))
        .and_then(Value::as_array)
        .is_some_and(|keys| keys.iter().any(|key| key.get("d").is_some() || key.get("k").is_some()))
}

pub(crate) async fn row(db: &impl ConnectionTrait, id: &str) -> Result<Option<Model>, Failure> {
    Ok(Entity::find_by_id(ClientId(id.to_owned())).one(db).await?)
}
