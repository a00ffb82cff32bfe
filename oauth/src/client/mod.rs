//! OAuth clients: identification and authentication.
//!
//! A client is known in one of four ways: it is preregistered in the configuration, it registered
//! dynamically, its id is the URL of its metadata document, or an operator created it to act for itself
//! ([`crate::service_client`], which also authenticates such clients). A client with a document has no
//! secret.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use entity::{
    Digest,
    oauth_clients::{COLUMN, Column, Entity},
};
use mcp::json;
use platform::db::Failure;
use sea_orm::{
    ColumnTrait as _, Condition, ConnectionTrait, EntityTrait as _, QueryFilter as _,
    sea_query::Expr,
};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

mod types;

pub use self::types::{
    Authentication, BadCredentials, Client, ClientError, ClientId, ClientKind, Credentials, Method,
    PublicKeys, UNUSED_LIFETIME,
};
pub(crate) use self::types::{
    Metadata, client, contains_private_key, from_row, has_private_key, row,
};
use super::{
    audit::LogContext,
    cimd,
    display_name::DisplayName,
    metadata_url::{self, MetadataUrl},
    redirect_uri::{RedirectUri, Schemes},
    scope::{ScopeList, Scopes},
    service_client, token_format,
};
use crate::server::Server;

/// A client is deleted this long after its last token. Not shorter than the lifetime of a grant, so
/// that no grant loses its client.
pub const IDLE_LIFETIME: TimeDelta = TimeDelta::days(90);

/// The minimum time between two updates of a client's last use: many users share one client, and
/// would otherwise wait for the lock on its row.
const LAST_USED_PRECISION: TimeDelta = TimeDelta::hours(1);

/// The maximum length of a `client_id`, in bytes.
const MAX_ID_BYTES: usize = metadata_url::MAX_BYTES;

/// The minimum length of a configured secret, in bytes. A shorter one could be guessed.
const MIN_SECRET_BYTES: usize = 32;

/// Finds the client of an authorization request. Fetches its metadata document if necessary.
pub async fn find(server: &Server, id: &str) -> Result<Client, ClientError> {
    if MetadataUrl::looks_like(id) {
        return cimd::find(server, id).await;
    }
    // Service clients act for themselves: no user can authorize them.
    if token_format::is_service_client_id(id) {
        return Err(ClientError::Unknown);
    }
    find_snapshot(server, id).await
}

/// Returns the name of a client, or `None` if the client cannot be found.
pub(crate) async fn name_of(server: &Server, id: &ClientId) -> Option<DisplayName> {
    find_snapshot(server, id.as_str()).await.ok().map(|client| client.name)
}

/// Finds the client of a token request, as it was known at the last authorization. Never fetches
/// anything, so a metadata document that has disappeared does not end existing grants.
pub async fn find_snapshot(server: &Server, id: &str) -> Result<Client, ClientError> {
    if id.len() > MAX_ID_BYTES {
        return Err(ClientError::Unknown);
    }
    if let Some(client) = configured(server, id) {
        return Ok(client.clone());
    }
    if token_format::is_service_client_id(id) {
        return service_client::find(server, id).await;
    }
    // Malformed ids do not reach the database, which would refuse some of them with an error.
    let is_document = || MetadataUrl::parse(id, server.settings().public_url.host()).is_ok();
    if !token_format::is_client_id(id) && !is_document() {
        return Err(ClientError::Unknown);
    }
    let row = row(server.db(), id).await?.ok_or(ClientError::Unknown)?;
    if row.disabled_at.is_some() || row.expires_at.is_some_and(|it| it <= server.clock().now()) {
        return Err(ClientError::Unknown);
    }
    from_row(row)
}

/// Returns the preregistered client with this id.
fn configured<'a>(server: &'a Server, id: &str) -> Option<&'a Client> {
    server.settings().clients.iter().find(|it| it.id.as_str() == id)
}

/// Adds the client id of a request to the log context, if the text has the form of a `client_id`.
/// The client may not exist, but the form bounds what can be written to the log.
pub fn add_to_log_context(server: &Server, id: &str, log_context: &LogContext) {
    let has_valid_form = token_format::is_client_id(id)
        || token_format::is_service_client_id(id)
        || configured(server, id).is_some()
        || MetadataUrl::parse(id, server.settings().public_url.host()).is_ok();
    if has_valid_form {
        log_context.set_client(id);
    }
}

/// Authenticates a client. A client with a secret may send it either way, because libraries choose
/// by what the server offers rather than by what they registered. Service clients are authenticated by
/// [`service_client::authenticate`].
pub fn authenticate(client: &Client, credentials: Credentials<'_>) -> Result<(), BadCredentials> {
    let hash = match (&client.authentication, credentials) {
        (Authentication::None, Credentials::None) => return Ok(()),
        (Authentication::SecretBasic(hash) | Authentication::SecretPost(hash), _) => hash,
        (Authentication::None | Authentication::PrivateKeyJwt(_), _) => return Err(BadCredentials),
    };
    if credentials.contain_secret(hash) { Ok(()) } else { Err(BadCredentials) }
}

/// Stores that a client got a token, at most once an hour, which delays the deletion of the client.
/// Takes any connection, so that it can be part of the transaction that issues the token.
pub async fn used(
    db: &impl ConnectionTrait,
    now: DateTime<Utc>,
    client: &Client,
) -> Result<(), Failure> {
    if matches!(client.kind, ClientKind::Preregistered | ClientKind::Service) {
        return Ok(());
    }
    let is_outdated = Condition::any()
        .add(COLUMN.last_used_at.is_null())
        .add(COLUMN.last_used_at.lt(now - LAST_USED_PRECISION));
    Entity::update_many()
        .col_expr(Column::LastUsedAt, Expr::value(now))
        .col_expr(Column::ExpiresAt, Expr::value(now + IDLE_LIFETIME))
        .filter(COLUMN.id.eq(client.id.clone()))
        .filter(is_outdated)
        .exec(db)
        .await?;
    Ok(())
}

/// Parses the preregistered clients of the configuration: a JSON array. An error names the entry
/// and never quotes it, since it may contain a secret.
pub fn parse_preregistered(
    text: &str,
    schemes: &Schemes,
    scopes: ScopeList,
) -> Result<Vec<Client>, String> {
    const EXAMPLE: &str = "must be a JSON array of objects such as {\"client_id\": \"my-app\", \
         \"client_name\": \"My app\", \"redirect_uris\": [\"https://my-app.example/callback\"]}";

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Entry {
        client_id: String,
        client_name: String,
        redirect_uris: Vec<String>,
        client_secret: Option<String>,
        scope: Option<String>,
        #[serde(default)]
        dpop_bound_access_tokens: bool,
    }

    // The parser's error message could quote a secret.
    let entries: Vec<serde_json::Value> =
        json::from_str(text).map_err(|_quotes_the_text| EXAMPLE.to_owned())?;
    let mut clients = Vec::new();
    let mut ids = BTreeSet::new();
    for (index, entry) in entries.into_iter().enumerate() {
        let problem = |what: &str| format!("{EXAMPLE}; entry {}: {what}", index + 1);
        let entry: Entry = json::from_value(entry).map_err(|_quotes_the_text| {
            problem("a member is missing, unknown or of the wrong type")
        })?;
        let id = entry.client_id;
        let is_plain = (1..=128).contains(&id.len())
            && id.bytes().all(|it| it.is_ascii_alphanumeric() || b"-._~".contains(&it));
        let is_generated =
            token_format::is_client_id(&id) || token_format::is_service_client_id(&id);
        if !is_plain || is_generated || !ids.insert(id.clone()) {
            return Err(problem(
                "client_id must be 1 to 128 characters of A-Z a-z 0-9 - . _ ~, and unique",
            ));
        }
        let redirect_uris = entry
            .redirect_uris
            .iter()
            .map(|it| RedirectUri::parse(it, schemes))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| problem(&error.to_string()))?;
        if redirect_uris.is_empty() {
            return Err(problem("redirect_uris is empty"));
        }
        let scope = entry
            .scope
            .map(|text| scopes.parse(&text))
            .transpose()
            .map_err(|error| problem(&error.to_string()))?;
        // Not treated as absent: a typing error must not allow all scopes.
        if scope.as_ref().is_some_and(Scopes::is_empty) {
            return Err(problem("scope contains no scope of this server"));
        }
        let secret = entry
            .client_secret
            .map(|secret| {
                if secret.len() < MIN_SECRET_BYTES {
                    return Err(problem("client_secret must have at least 32 bytes"));
                }
                Ok(Digest::new(Sha256::digest(secret.as_bytes()).into()))
            })
            .transpose()?;
        let metadata = Metadata {
            client_name: DisplayName::sanitize(&entry.client_name),
            redirect_uris,
            method: match secret {
                Some(_) => Method::SecretBasic,
                None => Method::None,
            },
            may_refresh: true,
            dpop_bound: entry.dpop_bound_access_tokens,
            scope,
        };
        clients.push(client(ClientId(id), ClientKind::Preregistered, metadata, secret));
    }
    Ok(clients)
}

#[cfg(test)]
mod tests {
    use super::{types::host_of, *};

    const SECRET: &str = "a secret that an operator has chosen";

    fn parse(text: &str) -> Result<Vec<Client>, String> {
        parse_preregistered(text, &Schemes::default(), crate::scope::EXAMPLE)
    }

    fn app(secret: Option<&str>) -> Client {
        let secret = secret.map_or(String::new(), |it| format!(", \"client_secret\": \"{it}\""));
        let entry = format!(
            "[{{\"client_id\": \"app\", \"client_name\": \"App\", \
             \"redirect_uris\": [\"https://app.example.com/cb\"]{secret}}}]"
        );
        parse(&entry).unwrap().remove(0)
    }

    #[test]
    fn a_secret_is_verified_and_a_public_client_has_none() {
        use Credentials::{Basic, None as NoSecret, Post};

        let basic = |text| Basic { decoded: text, verbatim: text };
        let public = app(None);
        assert_eq!(authenticate(&public, NoSecret), Ok(()));
        assert_eq!(authenticate(&public, basic(SECRET)), Err(BadCredentials));
        assert_eq!(authenticate(&public, Post("")), Err(BadCredentials));

        let confidential = app(Some(SECRET));
        for right in [
            basic(SECRET),
            Post(SECRET),
            Basic { decoded: SECRET, verbatim: "a+secret" },
            Basic { decoded: "x", verbatim: SECRET },
        ] {
            assert_eq!(authenticate(&confidential, right), Ok(()));
        }
        for wrong in [NoSecret, basic(""), basic("x"), Post(&SECRET[1..]), Post("")] {
            assert_eq!(authenticate(&confidential, wrong), Err(BadCredentials));
        }
    }

    #[test]
    fn preregistered_clients_are_validated() {
        assert_eq!(parse("[]"), Ok(vec![]));
        let client = app(Some(SECRET));
        assert_eq!(client.name.as_str(), "App");
        assert!(client.may_refresh && client.scope.is_none());
        assert!(!format!("{client:?}").contains(SECRET));
        let nulls = r#"[{"client_id": "app", "client_name": "App", "client_secret": null,
            "scope": "openid notes:read", "redirect_uris": ["https://app.example.com/cb"]}]"#;
        let client = parse(nulls).unwrap().remove(0);
        assert_eq!(client.authentication, Authentication::None);
        assert_eq!(client.scope, Some(Scopes::named("notes:read")));

        let uris = "\"redirect_uris\": [\"https://a.example.com/cb\"]";
        let a = format!("{{\"client_id\": \"a\", \"client_name\": \"A\", {uris}}}");
        for bad in [
            "{}".to_owned(),
            "[1]".to_owned(),
            "[".to_owned(),
            "[{}]".to_owned(),
            format!("[{a}, {a}]"),
            a.replace("\"a\"", "\"\"").replace('{', "[{") + "]",
            format!("[{}]", a.replace("\"a\"", "\"https://a.example.com/c\"")),
            format!("[{}]", a.replace("https:", "http:")),
            format!("[{}]", a.replace("[\"https://a.example.com/cb\"]", "[]")),
            format!("[{}]", a.replace('}', ", \"scope\": \"admin\"}")),
            format!("[{}]", a.replace('}', ", \"scope\": \"\"}")),
            format!("[{}]", a.replace('}', ", \"client_secret\": \"\"}")),
            format!("[{}]", a.replace('}', ", \"client_secret\": \"hunter2\"}")),
            format!("[{}]", a.replace('}', ", \"client_secret\": 2}")),
            format!("[{}]", a.replace('}', ", \"secret\": \"hunter2\"}")),
        ] {
            let problem = parse(&bad).unwrap_err();
            assert!(!problem.contains("hunter2") && !problem.contains('\n'), "{problem}");
            assert!(problem.starts_with("must "), "{problem}");
        }
    }

    #[test]
    fn the_hash_changes_with_the_metadata() {
        let metadata = |name| Metadata {
            client_name: DisplayName::sanitize(name),
            redirect_uris: vec![],
            method: Method::None,
            may_refresh: true,
            scope: None,
            dpop_bound: false,
        };
        assert_eq!(metadata("a").hash(), metadata("a").hash());
        assert_ne!(metadata("a").hash(), metadata("b").hash());
        let json = serde_json::to_value(metadata("a")).unwrap();
        assert_eq!(serde_json::from_value::<Metadata>(json).unwrap(), metadata("a"));
    }

    #[test]
    fn host_of_returns_the_validated_host() {
        for (url, host) in [
            ("https://app.example.com/c", "app.example.com"),
            ("https://app.example.com/c?a=/b", "app.example.com"),
        ] {
            assert_eq!(host_of(url), host);
            assert_eq!(MetadataUrl::parse(url, "x").unwrap().host(), host);
        }
    }
}
