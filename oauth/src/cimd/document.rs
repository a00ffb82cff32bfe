//! Validation of metadata documents, and how long they may be cached.

use std::time::Duration;

use reqwest::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap};
use serde_json::{Map, Value};

use crate::{
    client::{Metadata, Method, contains_private_key},
    display_name::DisplayName,
    metadata_url::MetadataUrl,
    redirect_uri::{RedirectUri, Schemes},
    scope::Scopes,
    strict_json,
};

/// Returns whether the media type is `application/json`, or another `application` type with the
/// suffix `+json`.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let Some(Ok(value)) = headers.get(CONTENT_TYPE).map(|it| it.to_str()) else {
        return false;
    };
    let essence = value.split(';').next().unwrap_or_default().trim();
    let essence = essence.to_ascii_lowercase();
    essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// The minimum time that a document is cached, so that a flood of requests causes one fetch.
pub(super) const MIN_FRESHNESS: Duration = Duration::from_mins(1);

/// The maximum time that a document is cached, so that changes take effect within a day.
pub(super) const MAX_FRESHNESS: Duration = Duration::from_hours(24);

/// How long a document without a `Cache-Control` header is cached.
pub(super) const DEFAULT_FRESHNESS: Duration = Duration::from_mins(5);

/// Returns how long a document may be cached, by `Cache-Control`, between [`MIN_FRESHNESS`] and
/// [`MAX_FRESHNESS`].
pub(super) fn fresh_for(headers: &HeaderMap) -> Duration {
    let mut fresh = DEFAULT_FRESHNESS;
    for value in headers.get_all(CACHE_CONTROL) {
        for directive in value.to_str().unwrap_or_default().split(',') {
            let directive = directive.trim().to_ascii_lowercase();
            match directive.split_once('=') {
                None if directive == "no-store" || directive == "no-cache" => return MIN_FRESHNESS,
                Some(("max-age", seconds)) => {
                    // A number that is too large to parse is a long time, too.
                    let digits = seconds.trim_matches('"');
                    fresh = match digits.parse() {
                        Ok(seconds) => Duration::from_secs(seconds),
                        Err(_) if digits.bytes().all(|it| it.is_ascii_digit()) => MAX_FRESHNESS,
                        Err(_) => MIN_FRESHNESS,
                    };
                }
                _ => {}
            }
        }
    }
    fresh.clamp(MIN_FRESHNESS, MAX_FRESHNESS)
}

/// Parses and validates a document. Returns the metadata that is stored.
pub(crate) fn parse(
    body: &[u8],
    url: &MetadataUrl,
    schemes: &Schemes,
) -> Result<Metadata, &'static str> {
    let object = strict_json::object(body)
        .map_err(|_details| "it is not a JSON object without duplicate keys")?;
    if object.get("client_id").and_then(Value::as_str) != Some(url.as_str()) {
        return Err("its client_id is not the URL of the document");
    }
    let given = |member: &str| strict_json::optional(&object, member);
    if given("client_secret").is_some() || given("client_secret_expires_at").is_some() {
        return Err("a public document must not contain a secret");
    }
    if contains_private_key(&object) {
        return Err("a public document must not contain a private key");
    }
    if !can_be_public_client(&object) {
        return Err("its token_endpoint_auth_method is not supported; only none is");
    }
    let has = |member: &str, needed: &str| match given(member) {
        None => true,
        Some(Value::Array(items)) => items.iter().any(|it| it == needed),
        Some(_) => false,
    };
    if !has("response_types", "code") {
        return Err("its response_types do not contain code");
    }
    if !has("grant_types", "authorization_code") {
        return Err("its grant_types do not contain authorization_code");
    }
    let redirect_uris = match object.get("redirect_uris") {
        Some(Value::Array(items)) if items.iter().all(Value::is_string) => items
            .iter()
            .filter_map(Value::as_str)
            // The document is meant for other servers, too: redirect URIs that are not allowed here
            // are ignored.
            .filter_map(|it| RedirectUri::parse(it, schemes).ok())
            .collect(),
        _ => vec![],
    };
    if redirect_uris.is_empty() {
        return Err("it has no redirect_uris that are allowed here");
    }
    let name = match given("client_name") {
        Some(Value::String(name)) => name.as_str(),
        _ => url.host(),
    };
    Ok(Metadata {
        client_name: DisplayName::sanitize(name),
        redirect_uris,
        method: Method::None,
        may_refresh: has("grant_types", "refresh_token"),
        scope: given("scope")
            .and_then(Value::as_str)
            .map(Scopes::named)
            .filter(|it| !it.is_empty()),
        dpop_bound: given("dpop_bound_access_tokens") == Some(&Value::Bool(true)),
    })
}

/// Returns whether the client can be a public client. A client that prefers another method but
/// lists `none` among its supported methods is accepted as one: ChatGPT is such a client.
fn can_be_public_client(object: &Map<String, Value>) -> bool {
    let lists_none = ["token_endpoint_auth_methods_supported", "token_endpoint_auth_methods"]
        .iter()
        .filter_map(|it| object.get(*it).and_then(Value::as_array))
        .any(|items| items.iter().any(|it| it == "none"));
    match strict_json::optional(object, "token_endpoint_auth_method") {
        None => true,
        Some(Value::String(method)) => match method.as_str() {
            "none" => true,
            // A secret would have to be in the public document.
            "client_secret_basic" | "client_secret_post" | "client_secret_jwt" => false,
            _ => lists_none,
        },
        Some(_) => false,
    }
}
