//! Enterprise-managed authorization (MCP extension): a client exchanges an identity assertion of the
//! enterprise's identity provider (ID-JAG, an Identity Assertion JWT Authorization Grant) for an access
//! token, without the user at a browser. The grant type is `jwt-bearer` (RFC 7523, section 2.1).
//!
//! The provider has decided that this client may act for this user here. This server checks that the
//! assertion is from a provider that it trusts, and is meant for it and for this client, applies its
//! access policy to what the assertion says about the user, and accepts each assertion once. An
//! assertion is a credential and is never logged.

use std::{fmt, time::Duration};

use mcp::UserId;
use platform::{db::Failure, metrics};
use serde_json::Value;

use super::{
    audit::{self, Event, RequestInfo},
    client::{Authentication, Client, ClientKind},
    direct_issue::{self, DirectIssue, IssueError},
    dpop::Thumbprint,
    grant::TokenSet,
    jwt::{self, Claims, ID_JAG, JwtError, Unverified, check_times, text, time},
    login::{
        policy::{self, DenialReason, NotAdmitted},
        provider::{AssertionError, Deadline, Identity, IdentityProvider, VerifiedAssertion},
        users::{self, SignIn},
    },
    record, replay, resource,
    scope::{MalformedScope, Scopes},
    service_client::{self, AuthenticationError},
};
use crate::server::Server;

/// The value of `grant_type`.
pub const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// The value of `authorization_grant_profiles_supported` in the server's metadata.
pub const GRANT_PROFILE: &str = "urn:ietf:params:oauth:grant-profile:id-jag";

/// The maximum lifetime of an assertion, in seconds. Providers issue them for a few minutes.
const MAX_LIFETIME: i64 = 60 * 60;

/// A token request with an identity assertion.
pub struct TokenRequest<'a> {
    /// The `assertion` parameter.
    pub assertion: &'a str,
    /// The `scope` parameter. `None`: everything that the assertion and the client allow.
    pub scope: Option<&'a str>,
    /// The `resource` parameters (RFC 8707). An empty list means this server's MCP endpoint.
    pub resource: &'a [&'a str],
    /// The key that the client has proven to have, to which the token is bound ([`crate::dpop`]).
    /// `None`: the request has no proof.
    pub dpop_key: Option<Thumbprint>,
    /// The HTTP request, for logs and the audit log.
    pub request: RequestInfo,
}

/// Does not print the assertion.
impl fmt::Debug for TokenRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenRequest").field("scope", &self.scope).finish_non_exhaustive()
    }
}

/// Why no token was issued.
#[derive(Debug, thiserror::Error)]
pub enum IdJagError {
    /// The client is public: nothing proves that the assertion was issued to the sender.
    #[error(
        "only clients with a secret or a key may use this grant type; others connect with the \
         authorization code flow"
    )]
    UnauthorizedClient,
    /// The assertion is not valid; contains the reason, as the rest of a sentence about it.
    #[error("the assertion is not valid: {0}")]
    InvalidGrant(&'static str),
    /// The access policy refuses the user; contains the reason, as sentences.
    #[error("{0}")]
    Refused(String),
    /// The access policy cannot decide about the user; contains the missing claims.
    #[error(
        "the access policy of this server needs the following claims about the user, which the \
         assertion does not contain; let the identity provider add them: {0}"
    )]
    Undecidable(String),
    /// The `scope` parameter is malformed.
    #[error("{0}")]
    MalformedScope(#[from] MalformedScope),
    /// No scope is left.
    #[error("no requested scope is one that both the assertion and the client allow")]
    NoScope,
    /// The requested resource is not this server.
    #[error("{0}")]
    InvalidTarget(#[from] resource::InvalidTarget),
    /// Too many requests of this client; contains the time until a retry can succeed.
    #[error("too many requests of this client")]
    TooOften(Duration),
    /// The provider or a dependency failed, and the log has the reason. The same request may succeed
    /// later.
    #[error("the assertion cannot be checked at the moment")]
    Unavailable,
}

impl From<JwtError> for IdJagError {
    fn from(JwtError(why): JwtError) -> Self {
        Self::InvalidGrant(why)
    }
}

impl From<Failure> for IdJagError {
    fn from(failure: Failure) -> Self {
        tracing::error!(
            dependency = failure.dependency(), error = ?failure,
            "Could not exchange an identity assertion; the client may retry"
        );
        Self::Unavailable
    }
}

/// Exchanges an assertion for an access token of its user, for a client that was authenticated.
pub async fn exchange(
    server: &Server,
    client: &Client,
    token: TokenRequest<'_>,
) -> Result<TokenSet, IdJagError> {
    if client.authentication == Authentication::None {
        return Err(IdJagError::UnauthorizedClient);
    }
    // Service clients are counted when they are authenticated.
    if client.kind != ClientKind::Service
        && let Err(AuthenticationError::TooOften(wait)) =
            service_client::take_quota(server, &client.id).await
    {
        return Err(IdJagError::TooOften(wait));
    }
    resource::check(&server.settings().public_url, token.resource.iter().copied())?;
    let (provider, verified) = verify(server, token.assertion).await?;
    let VerifiedAssertion { claims, identity, missing } = verified;
    let user = identity.user(provider);
    token.request.log_context.set_user(user.as_str());
    let checked = check_claims(server, client, &claims)?;
    check_confirmation(&claims, token.dpop_key.as_ref())?;
    let scope = scope(server, client, &claims, token.scope)?;
    admit(server, provider, &identity, &missing).await?;
    let (issuer, id) = (text(&claims, "iss").unwrap_or_default(), checked.id);
    if !is_first_use(server, issuer, &checked, client, &user, &token.request).await? {
        return Err(IdJagError::InvalidGrant("it was used before (jti)"));
    }
    let sign_in = sign_in(server, &user, identity).await;
    let issuing = async {
        let new = DirectIssue {
            client,
            user: user.clone(),
            scope,
            grant_type: GRANT_TYPE,
            sign_in: Some(sign_in?),
            new_grant: audit::Kind::AssertionAccepted,
            dpop_key: token.dpop_key.as_ref(),
            request: &token.request,
        };
        direct_issue::issue(server, new).await
    };
    match issuing.await {
        Ok(tokens) => Ok(tokens),
        Err(IssueError::UserInactive) => Err(IdJagError::InvalidGrant("its user is blocked")),
        Err(IssueError::ClientRevoked) => Err(IdJagError::InvalidGrant("the client was revoked")),
        Err(IssueError::Unavailable(failure)) => {
            replay::forget(server, issuer, id).await;
            Err(failure.into())
        }
    }
}

/// Finds the provider that an assertion is from, and verifies the signature.
async fn verify<'a>(
    server: &'a Server,
    assertion: &str,
) -> Result<(&'a dyn IdentityProvider, VerifiedAssertion), IdJagError> {
    let token = Unverified::read(assertion)?;
    if !token.is_of_type(ID_JAG) {
        return Err(IdJagError::InvalidGrant("its type (typ) is not oauth-id-jag+jwt"));
    }
    let claims = token.unverified_claims()?;
    let provider = text(&claims, "iss").and_then(|issuer| server.provider_by_issuer(issuer));
    let provider = provider
        .ok_or(IdJagError::InvalidGrant("its issuer (iss) is not one that this server trusts"))?;
    match provider.verify_assertion(assertion, Deadline::start()).await {
        Ok(verified) => Ok((provider, verified)),
        Err(AssertionError::Invalid(why)) => Err(IdJagError::InvalidGrant(why)),
        Err(AssertionError::Provider(error)) => {
            tracing::warn!(
                dependency = provider.id(), %error,
                "Could not verify an identity assertion; the client may retry"
            );
            Err(IdJagError::Unavailable)
        }
    }
}

/// The parts of a valid assertion by which a replay is detected.
struct CheckedAssertion<'a> {
    id: &'a str,
    /// In seconds since the Unix epoch.
    expires_at: i64,
}

/// Checks that an assertion is meant for this server and this client, now.
fn check_claims<'a>(
    server: &Server,
    client: &Client,
    claims: &'a Claims,
) -> Result<CheckedAssertion<'a>, IdJagError> {
    use IdJagError::InvalidGrant;

    let public_url = &server.settings().public_url;
    if jwt::audience(claims) != Some(public_url.as_str()) {
        return Err(InvalidGrant("its audience (aud) is not exactly the issuer of this server"));
    }
    let resource = claims.get("resource").and_then(jwt::only);
    if resource.is_none_or(|resource| resource::check(public_url, [resource]).is_err()) {
        return Err(InvalidGrant("its resource is not the MCP endpoint of this server"));
    }
    if text(claims, "client_id") != Some(client.id.as_str()) {
        return Err(InvalidGrant("its client_id is not the client that sent it"));
    }
    let expires_at = check_times(claims, server.clock().now().timestamp())?;
    let issued_at =
        time(claims, "iat")?.ok_or(InvalidGrant("it does not say when it was issued (iat)"))?;
    if expires_at.checked_sub(issued_at).is_none_or(|lifetime| lifetime > MAX_LIFETIME) {
        return Err(InvalidGrant("its lifetime (exp - iat) is longer than an hour"));
    }
    let id = jwt::id(claims).ok_or(InvalidGrant("it has no id (jti) of 1 to 255 bytes"))?;
    Ok(CheckedAssertion { id, expires_at })
}

/// Checks that an assertion which the provider has bound to a key (RFC 7800) was sent with a proof of
/// this key. No other kind of binding can be checked, so none is accepted.
fn check_confirmation(claims: &Claims, proven: Option<&Thumbprint>) -> Result<(), IdJagError> {
    let Some(confirmation) = claims.get("cnf") else {
        return Ok(());
    };
    let jkt = match confirmation.as_object() {
        Some(members) if members.len() == 1 => members.get("jkt").and_then(Value::as_str),
        _ => None,
    };
    let jkt = jkt.ok_or(IdJagError::InvalidGrant(
        "its confirmation (cnf) is not exactly the thumbprint of a key (jkt)",
    ))?;
    if proven.is_some_and(|key| key.as_str() == jkt) {
        Ok(())
    } else {
        Err(IdJagError::InvalidGrant(
            "it is bound to a key (cnf), and the request has no DPoP proof of this key",
        ))
    }
}

/// Determines the scope of the token: what the assertion, the client and the request have in common.
/// Without a scope in assertion and request, it is what an authorization request without one gets.
fn scope(
    server: &Server,
    client: &Client,
    claims: &Claims,
    requested: Option<&str>,
) -> Result<Scopes, IdJagError> {
    let scopes = server.settings().scopes;
    let asserted = match claims.get("scope") {
        None => None,
        Some(Value::String(text)) => Some(scopes.known(text)),
        Some(_) => return Err(IdJagError::InvalidGrant("its scope is not a text")),
    };
    let requested = requested.map(|text| scopes.parse(text)).transpose()?;
    let registered = client.scope.as_ref().map(|scope| scopes.keep(scope));
    let mut scope = match (&asserted, &requested) {
        (None, None) => scopes.default_request(),
        _ => scopes.all(),
    };
    for limit in [asserted, requested, registered].into_iter().flatten() {
        scope = scope.intersect(&limit);
    }
    if scope.is_empty() { Err(IdJagError::NoScope) } else { Ok(scope) }
}

/// Checks the access policy of the provider.
async fn admit(
    server: &Server,
    provider: &dyn IdentityProvider,
    identity: &Identity,
    missing: &[String],
) -> Result<(), IdJagError> {
    match policy::admit(server, provider, identity, Deadline::start()).await {
        Ok(()) => Ok(()),
        Err(NotAdmitted::Denied(why)) => {
            metrics::OAUTH_GATE_REFUSALS.increment([why.as_str()]);
            let is_about_claims =
                !matches!(why, DenialReason::Blocked | DenialReason::LoginRecycled);
            if is_about_claims && !missing.is_empty() {
                return Err(IdJagError::Undecidable(missing.join(", ")));
            }
            Err(IdJagError::Refused(why.sentence(provider.policy(), provider.label())))
        }
        Err(NotAdmitted::Provider(error)) => {
            tracing::warn!(
                dependency = provider.id(), %error,
                "Could not check the access policy for an identity assertion; the client may retry"
            );
            Err(IdJagError::Unavailable)
        }
        Err(NotAdmitted::Failure(failure)) => Err(failure.into()),
    }
}

/// Returns whether this is the first use of an assertion. Records a replay.
async fn is_first_use(
    server: &Server,
    issuer: &str,
    checked: &CheckedAssertion<'_>,
    client: &Client,
    user: &UserId,
    request: &RequestInfo,
) -> Result<bool, IdJagError> {
    match replay::is_first_use(server, issuer, checked.id, checked.expires_at).await {
        Ok(true) => Ok(true),
        Ok(false) => {
            let event = Event::new(audit::Kind::AssertionReplayed, request);
            let event = event.user(user).client(&client.id).detail("identity assertion");
            record::note(server, event).await;
            Ok(false)
        }
        Err(error) => {
            tracing::error!(%error, "Could not check whether an assertion was used before");
            Err(IdJagError::Unavailable)
        }
    }
}

/// Returns the user data to store. An assertion without names keeps those of the last sign-in.
async fn sign_in(server: &Server, user: &UserId, identity: Identity) -> Result<SignIn, Failure> {
    let Identity { subject, login, name, .. } = identity;
    let known = if login == subject { users::get(server.db(), user).await? } else { None };
    Ok(match known {
        Some(known) => SignIn {
            user: user.clone(),
            login: known.login,
            display_name: name.or(known.display_name),
        },
        None => SignIn { user: user.clone(), login, display_name: name },
    })
}
