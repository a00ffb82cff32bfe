//! Service clients: clients that an operator creates with `clients create`, and that act for
//! themselves (client credentials, RFC 6749, section 4.4) or for users of an enterprise
//! ([`crate::id_jag`]). They are confidential: each has a secret (`client_secret_basic`) or a key
//! (`private_key_jwt`, RFC 7523).
//!
//! What a service client stores belongs to a user of its own, its service account `service:<name>`.
//! Several clients of one name share the account, so that credentials can be replaced without an
//! interruption: create a second client, and revoke the first.
//!
//! | part | module |
//! |---|---|
//! | creation, and the validation of names and keys | `create` |
//! | the verification of credentials | this one, and `assertion` |
//! | the keys of clients, and their cache | `keys` |
//! | the end of a client | `revoke` |

mod assertion;
mod create;
mod keys;
mod revoke;

use std::time::Duration;

use chrono::{DateTime, Utc};
use entity::{
    Digest,
    oauth_service_clients::{COLUMN, Column, Entity, Model},
};
use mcp::UserId;
use platform::db::{Failure, Transaction};
use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _, sea_query::Expr};
use sha2::{Digest as _, Sha256};

pub(crate) use self::keys::ClientKeys;
use self::{assertion::CheckedAssertion, keys::KeyError};
pub use self::{
    assertion::{ASSERTION_TYPE, claimed_client},
    create::{
        Created, CredentialsOf, NameError, NewServiceClient, ServiceName, create, parse_keys,
    },
    revoke::revoke,
};
/// The signature algorithms of assertions, for the server's metadata.
pub use crate::jwt::NAMES as SIGNING_ALGORITHMS;
use crate::{
    audit::{self, Event, RequestInfo},
    client::{Authentication, Client, ClientError, ClientId, ClientKind, Credentials, PublicKeys},
    display_name::DisplayName,
    jwt::{JwtError, Unverified},
    limits::{CLIENT_TOKENS, Verdict},
    record, replay,
    scope::Scopes,
    server::Server,
    token_format,
};

/// The authentication method of clients with a key, as in metadata.
pub const PRIVATE_KEY_JWT: &str = "private_key_jwt";

/// The first part of the identities of service accounts, `service:<name>`. No identity provider has
/// this id.
const ACCOUNT_PREFIX: &str = "service";

/// Why a service client could not be authenticated.
#[derive(Debug, thiserror::Error)]
pub enum AuthenticationError {
    /// The client is unknown or revoked, or its credentials are wrong; contains the reason, for the
    /// log. The sender must not learn which it is.
    #[error("{0}")]
    Invalid(&'static str),
    /// The client's assertion is not valid; contains the reason, as the rest of a sentence about the
    /// assertion, which its sender may learn.
    #[error("the assertion is not valid: {0}")]
    Assertion(&'static str),
    /// The keys of the client could not be fetched; contains the reason, for the log.
    #[error("the keys of the client could not be fetched: {0}")]
    Keys(String),
    /// Too many requests of this client; contains the time until a retry can succeed.
    #[error("too many requests of this client")]
    TooOften(Duration),
    /// A dependency failed. The same request may succeed later.
    #[error("the client cannot be authenticated at the moment")]
    Unavailable,
}

impl From<Failure> for AuthenticationError {
    fn from(failure: Failure) -> Self {
        tracing::error!(
            dependency = failure.dependency(), error = ?failure,
            "Could not look up a service client"
        );
        Self::Unavailable
    }
}

impl From<JwtError> for AuthenticationError {
    fn from(JwtError(why): JwtError) -> Self {
        Self::Assertion(why)
    }
}

/// Returns whether a text has the form of the id of a service client.
pub fn is_id(text: &str) -> bool {
    token_format::is_service_client_id(text)
}

/// Returns whether service clients can be authenticated: a grant type that they can use is turned on.
pub fn is_enabled(server: &Server) -> bool {
    server.settings().client_credentials || server.accepts_id_jags()
}

/// Finds a service client. Revoked clients are unknown.
pub(crate) async fn find(server: &Server, id: &str) -> Result<Client, ClientError> {
    let row = row(server, id).await?.ok_or(ClientError::Unknown)?;
    Ok(from_row(row))
}

/// Authenticates a service client, and counts the request against its quota. An assertion is used up.
pub async fn authenticate(
    server: &Server,
    id: &str,
    credentials: Credentials<'_>,
    request: &RequestInfo,
) -> Result<Client, AuthenticationError> {
    let result = match credentials {
        Credentials::Assertion(assertion) => {
            authenticate_by_key(server, id, assertion, request).await
        }
        Credentials::None | Credentials::Basic { .. } | Credentials::Post(_) => {
            authenticate_by_secret(server, id, credentials).await
        }
    };
    result.inspect_err(|error| {
        let client = if is_id(id) { id } else { "" };
        tracing::info!(client, %error, "Refused the authentication of a service client");
    })
}

async fn authenticate_by_secret(
    server: &Server,
    id: &str,
    credentials: Credentials<'_>,
) -> Result<Client, AuthenticationError> {
    const WRONG: AuthenticationError =
        AuthenticationError::Invalid("it is unknown, revoked, or its secret is wrong");

    let client = row(server, id).await?.map(from_row);
    // An unknown client, and one with a key, takes the same steps: no secret has this hash.
    let no_secret = Digest::new([0; 32]);
    let hash = match client.as_ref().map(|client| &client.authentication) {
        Some(Authentication::SecretBasic(hash)) => hash,
        _ => &no_secret,
    };
    let is_valid = credentials.contain_secret(hash);
    let client = client.filter(|_| is_valid).ok_or(WRONG)?;
    take_quota(server, &client.id).await?;
    Ok(client)
}

async fn authenticate_by_key(
    server: &Server,
    id: &str,
    assertion: &str,
    request: &RequestInfo,
) -> Result<Client, AuthenticationError> {
    let token = Unverified::read(assertion)?;
    assertion::check_client(&token, id)?;
    let client = row(server, id).await?.map(from_row);
    let Some(client) = client else {
        return Err(AuthenticationError::Invalid("it is unknown or revoked"));
    };
    let Authentication::PrivateKeyJwt(keys) = &client.authentication else {
        return Err(AuthenticationError::Invalid("it has a secret, and no key"));
    };
    // Before the keys are fetched, so that an assertion which is not valid costs no request.
    let claims = token.unverified_claims()?;
    let now = server.clock().now().timestamp();
    let issuer = server.settings().public_url.as_str();
    let CheckedAssertion { id: jti, expires_at } = assertion::check_claims(&claims, issuer, now)?;
    server.client_keys().verify(keys, &token).await.map_err(|error| match error {
        KeyError::Unknown => AuthenticationError::Invalid("its key is unknown"),
        KeyError::Signature => {
            AuthenticationError::Invalid("the signature of its assertion is wrong")
        }
        KeyError::Fetch(why) => AuthenticationError::Keys(why),
    })?;
    match replay::is_first_use(server, client.id.as_str(), jti, expires_at).await {
        // Only now: someone who has copied an assertion must not use up the quota of its client.
        Ok(true) => take_quota(server, &client.id).await.map(|()| client),
        Ok(false) => {
            let event = Event::new(audit::Kind::AssertionReplayed, request).client(&client.id);
            record::note(server, event.detail("client assertion")).await;
            Err(AuthenticationError::Assertion("it was used before (jti)"))
        }
        Err(error) => {
            tracing::error!(%error, "Could not check whether an assertion was used before");
            Err(AuthenticationError::Unavailable)
        }
    }
}

/// Counts a request against the quota of a client that has proven its identity.
pub(crate) async fn take_quota(
    server: &Server,
    client: &ClientId,
) -> Result<(), AuthenticationError> {
    match server.limiter().check(&CLIENT_TOKENS, client.as_str()).await {
        Verdict::Allowed { .. } => Ok(()),
        Verdict::Refused { retry_after } => {
            tracing::info!(%client, "Refused a token request: the rate limit of the client is exceeded");
            Err(AuthenticationError::TooOften(retry_after))
        }
    }
}

/// Locks the row of a client until the transaction ends, and stores its use. Returns whether the
/// client exists and is not revoked.
pub(crate) async fn lock_and_use(
    transaction: &Transaction,
    now: DateTime<Utc>,
    id: &ClientId,
) -> Result<bool, Failure> {
    let used = Entity::update_many()
        .col_expr(Column::LastUsedAt, Expr::value(now))
        .filter(COLUMN.id.eq(id.clone()))
        .filter(COLUMN.revoked_at.is_null())
        .exec(transaction)
        .await?;
    Ok(used.rows_affected == 1)
}

/// Returns the service account of a client.
pub(crate) async fn account(server: &Server, id: &ClientId) -> Result<Option<UserId>, Failure> {
    Ok(row(server, id.as_str()).await?.map(|row| UserId::new(row.account_sub)))
}

/// Returns the row of a client that is not revoked. A text without the form of an id is not looked up.
async fn row(server: &Server, id: &str) -> Result<Option<Model>, Failure> {
    if !is_id(id) {
        return Ok(None);
    }
    let row = Entity::find_by_id(ClientId(id.to_owned())).one(server.db()).await?;
    Ok(row.filter(|row| row.revoked_at.is_none()))
}

fn from_row(row: Model) -> Client {
    let metadata = format!("{} {}", row.name, row.scope);
    let authentication = match (row.secret_hash, row.jwks, row.jwks_uri) {
        (Some(hash), ..) => Authentication::SecretBasic(hash),
        (None, Some(jwks), _) => Authentication::PrivateKeyJwt(PublicKeys::Registered(jwks)),
        (None, None, uri) => Authentication::PrivateKeyJwt(PublicKeys::At(uri.unwrap_or_default())),
    };
    Client {
        id: row.id,
        kind: ClientKind::Service,
        name: DisplayName::sanitize(&row.name),
        redirect_uris: Vec::new(),
        scope: Some(Scopes::named(&row.scope)),
        authentication,
        may_refresh: false,
        dpop_bound: false,
        metadata_hash: Sha256::digest(metadata.as_bytes()).into(),
    }
}
