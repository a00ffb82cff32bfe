//! Dynamic client registration (RFC 7591).
//!
//! Anyone may register, so a registration proves nothing: the name is unverified, the client is
//! deleted after a day unless a user authorizes it, and there is no maximum number of clients,
//! since a flood of registrations could reach it and prevent all others. Metadata that the server
//! does not use (links, logos, keys, contacts) is not stored, so no page can ever show it.

use std::collections::BTreeSet;

use entity::oauth_clients::{ActiveModel, Entity, Kind};
use platform::db::Failure;
use sea_orm::{EntityTrait as _, Set};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    audit::{self, Event, RequestInfo},
    client::{Metadata, Method, UNUSED_LIFETIME, contains_private_key},
    display_name::DisplayName,
    record,
    redirect_uri::{self, RedirectUri, Schemes},
    scope::Scopes,
    server::Server,
    strict_json,
    token_format::{PlainClientSecret, new_client_id},
};

/// The maximum size of a registration request, in bytes.
pub const MAX_BYTES: usize = 64 * 1024;

/// The response to a registration: RFC 7591, section 3.2.1.
#[derive(Debug, Serialize)]
pub struct Registered {
    /// The new client id.
    pub client_id: String,
    /// When it was issued, in seconds since the Unix epoch.
    pub client_id_issued_at: i64,
    /// The new secret, if the client asked for one. Only shown here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<ShownOnce>,
    /// 0 (never) if there is a secret, otherwise `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_secret_expires_at: Option<i64>,
    /// The name, as it will be shown.
    pub client_name: DisplayName,
    /// The redirect URIs.
    pub redirect_uris: Vec<RedirectUri>,
    /// The grant types that the client may use.
    pub grant_types: Vec<&'static str>,
    /// The response types that the client may use.
    pub response_types: [&'static str; 1],
    /// The authentication method at the token endpoint.
    pub token_endpoint_auth_method: Method,
    /// The scopes that the client may request: the known ones that it registered, or all.
    pub scope: Scopes,
    /// Whether the client gets only tokens that are bound to a key. `None`: DPoP is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dpop_bound_access_tokens: Option<bool>,
}

/// A secret in a response. It serializes as itself; its `Debug` output does not contain it.
pub struct ShownOnce(PlainClientSecret);

impl ShownOnce {
    /// Returns the secret.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

impl Serialize for ShownOnce {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.expose())
    }
}

impl std::fmt::Debug for ShownOnce {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ShownOnce")
    }
}

/// Why a registration was refused. The text is for the developer of the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    /// `invalid_redirect_uri`.
    #[error("{0}")]
    RedirectUri(String),
    /// `invalid_client_metadata`.
    #[error("{0}")]
    Metadata(String),
    /// `unapproved_software_statement`.
    #[error("software statements are not supported")]
    SoftwareStatement,
    /// A dependency failed. The same registration may succeed later.
    #[error("the client cannot be registered at the moment")]
    Unavailable,
}

impl RegisterError {
    /// Returns the OAuth error code. `None`: the request was not the reason.
    pub fn code(&self) -> Option<&'static str> {
        match self {
            Self::RedirectUri(_) => Some("invalid_redirect_uri"),
            Self::Metadata(_) => Some("invalid_client_metadata"),
            Self::SoftwareStatement => Some("unapproved_software_statement"),
            Self::Unavailable => None,
        }
    }
}

impl From<Failure> for RegisterError {
    fn from(failure: Failure) -> Self {
        tracing::error!(
            dependency = failure.dependency(), error = ?failure,
            "Could not register a client"
        );
        Self::Unavailable
    }
}

/// Registers a client from the body of its request.
pub async fn register(
    server: &Server,
    body: &[u8],
    request: &RequestInfo,
) -> Result<Registered, RegisterError> {
    let mut metadata = parse(body, &server.settings().redirect_schemes)?;
    let scopes = server.settings().scopes;
    let known = metadata.scope.map(|scope| scopes.keep(&scope));
    metadata.scope = known.filter(|scope| !scope.is_empty());
    let id = new_client_id();
    let secret = (metadata.method != Method::None).then(PlainClientSecret::generate);
    let now = server.clock().now();
    let row = ActiveModel {
        id: Set(id.clone()),
        kind: Set(Kind::Dynamic),
        metadata: Set(serde_json::to_value(&metadata).map_err(|error| {
            Failure::Internal(
                anyhow::Error::new(error).context("could not serialize the metadata of a client"),
            )
        })?),
        metadata_hash: Set(entity::Digest::new(metadata.hash())),
        secret_hash: Set(secret.as_ref().map(PlainClientSecret::hash)),
        created_at: Set(now),
        fetched_at: Set(None),
        last_used_at: Set(None),
        expires_at: Set(Some(now + UNUSED_LIFETIME)),
        disabled_at: Set(None),
    };
    Entity::insert(row).exec_without_returning(server.db()).await.map_err(Failure::from)?;
    let event = Event::new(audit::Kind::ClientRegistered, request)
        .client(&id)
        .detail(metadata.client_name.to_string());
    record::record(server, event).await?;
    Ok(Registered {
        client_id: id.0,
        client_id_issued_at: now.timestamp(),
        client_secret_expires_at: secret.as_ref().map(|_| 0),
        client_secret: secret.map(ShownOnce),
        client_name: metadata.client_name,
        redirect_uris: metadata.redirect_uris,
        grant_types: if metadata.may_refresh {
            vec!["authorization_code", "refresh_token"]
        } else {
            vec!["authorization_code"]
        },
        response_types: ["code"],
        token_endpoint_auth_method: metadata.method,
        scope: metadata.scope.unwrap_or_else(|| scopes.defaults()),
        dpop_bound_access_tokens: server.dpop().mode().is_on().then_some(metadata.dpop_bound),
    })
}

/// Parses and validates a registration. Returns the metadata that is stored.
fn parse(body: &[u8], schemes: &Schemes) -> Result<Metadata, RegisterError> {
    if body.len() > MAX_BYTES {
        return Err(metadata(&format!("the body is longer than {MAX_BYTES} bytes")));
    }
    let object = strict_json::object(body).map_err(|error| {
        metadata(&format!("the body must be one JSON object without duplicate keys: {error}"))
    })?;
    if strict_json::optional(&object, "software_statement").is_some() {
        return Err(RegisterError::SoftwareStatement);
    }
    if contains_private_key(&object) {
        return Err(metadata("jwks must not contain private keys"));
    }
    Ok(Metadata {
        redirect_uris: redirect_uris(&object, schemes)?,
        method: match text(&object, "token_endpoint_auth_method")? {
            None => Method::None,
            Some(name) => Method::parse(name).ok_or_else(|| {
                metadata(&format!(
                    "token_endpoint_auth_method must be one of {}",
                    Method::NAMES.join(", ")
                ))
            })?,
        },
        may_refresh: may_refresh(&object)?,
        dpop_bound: dpop_bound(&object)?,
        client_name: DisplayName::sanitize(text(&object, "client_name")?.unwrap_or_default()),
        // A `scope` without any known scope is treated as absent: the client may have been written
        // for several servers, and requests what it needs in the authorization request.
        scope: text(&object, "scope")?.map(Scopes::named).filter(|it| !it.is_empty()),
    })
}

fn redirect_uris(
    object: &Map<String, Value>,
    schemes: &Schemes,
) -> Result<Vec<RedirectUri>, RegisterError> {
    let refused = |text: &str| RegisterError::RedirectUri(text.to_owned());
    let Some(Value::Array(items)) = object.get("redirect_uris") else {
        return Err(refused("redirect_uris must be an array of URIs"));
    };
    if items.is_empty() || items.len() > redirect_uri::MAX_COUNT {
        return Err(refused("redirect_uris must contain 1 to 10 URIs"));
    }
    let mut seen = BTreeSet::new();
    let mut uris = Vec::new();
    for item in items {
        let text =
            item.as_str().ok_or_else(|| refused("redirect_uris must be an array of strings"))?;
        if !seen.insert(text) {
            return Err(refused("redirect_uris must not contain duplicates"));
        }
        let uri = RedirectUri::parse(text, schemes).map_err(|error| refused(&error.to_string()))?;
        uris.push(uri);
    }
    match text(object, "application_type")? {
        Some("web") if uris.iter().any(RedirectUri::is_loopback) => {
            Err(refused("a web application must not redirect to loopback"))
        }
        None | Some("native" | "web") => Ok(uris),
        Some(_) => Err(metadata("application_type must be native or web")),
    }
}

/// Returns whether the client gets refresh tokens. A client that omits `grant_types` gets them,
/// too: the default of RFC 7591 is not to, but clients that omit the member then lose their
/// connection.
fn may_refresh(object: &Map<String, Value>) -> Result<bool, RegisterError> {
    if let Some(types) = texts(object, "response_types")?
        && !types.contains(&"code")
    {
        return Err(metadata("response_types must contain code"));
    }
    let Some(types) = texts(object, "grant_types")? else {
        return Ok(true);
    };
    if !types.contains(&"authorization_code") {
        return Err(metadata("grant_types must contain authorization_code"));
    }
    Ok(types.contains(&"refresh_token"))
}

/// Returns whether the client gets only tokens that are bound to a key (RFC 9449, section 5.2).
fn dpop_bound(object: &Map<String, Value>) -> Result<bool, RegisterError> {
    match strict_json::optional(object, "dpop_bound_access_tokens") {
        None => Ok(false),
        Some(Value::Bool(bound)) => Ok(*bound),
        Some(_) => Err(metadata("dpop_bound_access_tokens must be true or false")),
    }
}

fn text<'a>(
    object: &'a Map<String, Value>,
    member: &str,
) -> Result<Option<&'a str>, RegisterError> {
    match strict_json::optional(object, member) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(metadata(&format!("{member} must be a string"))),
    }
}

fn texts<'a>(
    object: &'a Map<String, Value>,
    member: &str,
) -> Result<Option<Vec<&'a str>>, RegisterError> {
    match strict_json::optional(object, member) {
        None => Ok(None),
        Some(Value::Array(items)) => items
            .iter()
            .map(Value::as_str)
            .collect::<Option<Vec<_>>>()
            .map(Some)
            .ok_or_else(|| metadata(&format!("{member} must be an array of strings"))),
        Some(_) => Err(metadata(&format!("{member} must be an array"))),
    }
}

fn metadata(text: &str) -> RegisterError {
    RegisterError::Metadata(text.to_owned())
}

#[cfg(test)]
mod tests;
