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
use subtle::ConstantTimeEq as _;

use crate::{display_name::DisplayName, jwt, redirect_uri::RedirectUri, scope::Scopes};

/// A client that never got a token is deleted after this time.
pub const UNUSED_LIFETIME: TimeDelta = TimeDelta::hours(24);

/// An OAuth client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// The `client_id`.
    pub id: ClientId,
    /// How the client is known.
    pub kind: ClientKind,
    /// The self-declared name.
    pub name: DisplayName,
    /// The redirect URIs.
    pub redirect_uris: Vec<RedirectUri>,
    /// The scopes that it may request. `None`: all.
    pub scope: Option<Scopes>,
    /// How it authenticates.
    pub authentication: Authentication,
    /// Whether it may get refresh tokens.
    pub may_refresh: bool,
    /// Whether it gets only tokens that are bound to a key (`dpop_bound_access_tokens`, RFC 9449,
    /// section 5.2).
    pub dpop_bound: bool,
    /// A hash of the metadata, to detect changes.
    pub metadata_hash: [u8; 32],
}

/// How a client is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ClientKind {
    /// Preregistered by an operator of this server.
    Preregistered,
    /// Registered dynamically: its metadata is unverified.
    Dynamic,
    /// Created by an operator, to act for itself (client credentials).
    Service,
    /// Identified by its metadata document.
    MetadataDocument {
        /// The host that serves the document.
        host: String,
    },
}

/// How a client authenticates at the token endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// Public client (`none`): no secret; PKCE is required.
    None,
    /// A secret in the `Authorization` header (`client_secret_basic`); contains its hash.
    SecretBasic(Digest),
    /// A secret in the body (`client_secret_post`); contains its hash.
    SecretPost(Digest),
    /// An assertion that is signed with its key (`private_key_jwt`).
    PrivateKeyJwt(PublicKeys),
}

/// The public keys of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicKeys {
    /// A registered JWK Set.
    Registered(Value),
    /// The URL of a JWK Set (`jwks_uri`), which was checked when it was registered.
    At(String),
}

/// The credentials in a request.
#[derive(Clone, Copy)]
pub enum Credentials<'a> {
    /// No secret.
    None,
    /// A secret in the `Authorization` header.
    Basic {
        /// The secret, form-decoded according to RFC 6749, section 2.3.1.
        decoded: &'a str,
        /// The secret without form-decoding: many clients, the TypeScript SDK among them, do not
        /// encode it.
        verbatim: &'a str,
    },
    /// A secret in the body.
    Post(&'a str),
    /// An assertion that is signed with the client's key (RFC 7523, section 2.2).
    Assertion(&'a str),
}

impl Credentials<'_> {
    /// Returns whether they contain the secret with this hash. Hashes are compared in constant time.
    pub(crate) fn contain_secret(self, hash: &Digest) -> bool {
        let is_secret =
            |text: &str| Sha256::digest(text.as_bytes()).as_slice().ct_eq(hash.as_bytes()).into();
        match self {
            Self::None | Self::Assertion(_) => false,
            Self::Basic { decoded, verbatim } => is_secret(decoded) || is_secret(verbatim),
            Self::Post(secret) => is_secret(secret),
        }
    }
}

/// The client's authentication failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the client could not be authenticated")]
pub struct BadCredentials;

/// Why a client could not be found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The client does not exist, was deleted, or is disabled.
    #[error("the client is unknown")]
    Unknown,
    /// The client's metadata document is invalid; contains the reason, as a sentence for its
    /// publisher.
    #[error("{0}")]
    Refused(String),
    /// The host of the client's metadata document could not be reached.
    #[error("the document of the client at {host} could not be fetched: {why}")]
    Unreachable {
        /// The host name.
        host: String,
        /// The reason.
        why: Unreachable,
    },
    /// The client id is the URL of a metadata document, and this server is configured not to fetch
    /// them.
    #[error("documents of clients are not fetched")]
    DocumentsOff,
    /// The rate limit for fetching metadata documents is exhausted; contains the time until a retry
    /// can succeed.
    #[error("too many documents of clients were fetched")]
    TooMany(Duration),
    /// A dependency failed. The same request may succeed later.
    #[error("the client cannot be looked up at the moment")]
    Unavailable,
}

impl From<Failure> for ClientError {
    fn from(failure: Failure) -> Self {
        tracing::error!(
            dependency = failure.dependency(), error = ?failure,
            "Could not look up a client"
        );
        Self::Unavailable
    }
}

/// The stored metadata of a client. Instances of several versions read it from the database, so
/// fields are only added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Metadata {
    pub(crate) client_name: DisplayName,
    pub(crate) redirect_uris: Vec<RedirectUri>,
    pub(crate) method: Method,
    pub(crate) may_refresh: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) scope: Option<Scopes>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) dpop_bound: bool,
}

/// The authentication method of a client, as in its metadata.
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
    /// All methods, as in metadata, for the server's metadata.
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
        let json = serde_json::to_vec(self).expect("strings, booleans and lists can be serialized");
        Sha256::digest(json).into()
    }
}

pub(crate) fn from_row(row: Model) -> Result<Client, ClientError> {
    let metadata: Metadata = serde_json::from_value(row.metadata).map_err(|error| {
        tracing::error!(client = %row.id, %error, "Could not parse the metadata of a client");
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
        dpop_bound: metadata.dpop_bound,
        metadata_hash,
    }
}

/// Returns the host of the URL of a metadata document that was accepted before.
pub(super) fn host_of(url: &str) -> &str {
    let rest = url.strip_prefix("https://").unwrap_or(url);
    rest.split(['/', '?']).next().unwrap_or(rest)
}

/// Returns whether client metadata contains a private key.
pub(crate) fn contains_private_key(object: &Map<String, Value>) -> bool {
    object.get("jwks").and_then(Value::as_object).is_some_and(has_private_key)
}

/// Returns whether a JWK Set contains a private key.
pub(crate) fn has_private_key(key_set: &Map<String, Value>) -> bool {
    let keys = key_set.get("keys").and_then(Value::as_array);
    keys.is_some_and(|keys| keys.iter().any(jwt::is_private))
}

pub(crate) async fn row(db: &impl ConnectionTrait, id: &str) -> Result<Option<Model>, Failure> {
    Ok(Entity::find_by_id(ClientId(id.to_owned())).one(db).await?)
}
