//! The grant type `client_credentials` (RFC 6749, section 4.4; the MCP extension
//! `io.modelcontextprotocol/oauth-client-credentials`): a service client gets an access token for its
//! own account.

use platform::db::Failure;

use super::{
    audit::{self, RequestInfo},
    client::{Client, ClientKind},
    direct_issue::{self, DirectIssue, IssueError},
    dpop::Thumbprint,
    grant::TokenSet,
    resource,
    scope::{MalformedScope, Scopes},
    service_client,
};
use crate::server::Server;

/// The value of `grant_type`.
pub const GRANT_TYPE: &str = "client_credentials";

/// A token request with the `client_credentials` grant type.
#[derive(Debug)]
pub struct TokenRequest<'a> {
    /// The `scope` parameter. `None`: all scopes of the client.
    pub scope: Option<&'a str>,
    /// The `resource` parameters (RFC 8707). An empty list means this server's MCP endpoint.
    pub resource: &'a [&'a str],
    /// The key that the client has proven to have, to which the token is bound ([`crate::dpop`]).
    /// `None`: the request has no proof.
    pub dpop_key: Option<Thumbprint>,
    /// The HTTP request, for logs and the audit log.
    pub request: RequestInfo,
}

/// Why no token was issued.
#[derive(Debug, thiserror::Error)]
pub enum ClientCredentialsError {
    /// The client is not a service client.
    #[error(
        "only clients that the operator of this server has created with `clients create` may use this \
         grant type"
    )]
    UnauthorizedClient,
    /// The `scope` parameter is malformed.
    #[error("{0}")]
    MalformedScope(#[from] MalformedScope),
    /// The requested scope is not that of the client; contains the client's.
    #[error("the client may only have: {0}")]
    ScopeExceeded(Scopes),
    /// The requested resource is not this server.
    #[error("{0}")]
    InvalidTarget(#[from] resource::InvalidTarget),
    /// The account of the client is blocked, or the client was revoked concurrently.
    #[error("the client's account is blocked, or the client was revoked")]
    Ended,
    /// A dependency failed. The same request may succeed later.
    #[error("no token can be issued at the moment")]
    Unavailable(#[from] Failure),
}

/// Issues an access token for the account of a client that was authenticated.
pub async fn issue(
    server: &Server,
    client: &Client,
    token: TokenRequest<'_>,
) -> Result<TokenSet, ClientCredentialsError> {
    use ClientCredentialsError as Error;

    if client.kind != ClientKind::Service {
        return Err(Error::UnauthorizedClient);
    }
    resource::check(&server.settings().public_url, token.resource.iter().copied())?;
    let scope = scope(server, client, token.scope)?;
    let user = service_client::account(server, &client.id).await?.ok_or(Error::Ended)?;
    token.request.log_context.set_user(user.as_str());
    let new = DirectIssue {
        client,
        user,
        scope,
        grant_type: GRANT_TYPE,
        sign_in: None,
        new_grant: audit::Kind::TokenIssued,
        dpop_key: token.dpop_key.as_ref(),
        request: &token.request,
    };
    direct_issue::issue(server, new).await.map_err(|error| match error {
        IssueError::UserInactive | IssueError::ClientRevoked => Error::Ended,
        IssueError::Unavailable(failure) => Error::Unavailable(failure),
    })
}

/// Determines the scope of a token: that of the client, or a part of it. Unknown names are ignored, as
/// in other requests, unless there is no known one.
fn scope(
    server: &Server,
    client: &Client,
    requested: Option<&str>,
) -> Result<Scopes, ClientCredentialsError> {
    let scopes = server.settings().scopes;
    let registered = client.scope.as_ref().map(|scope| scopes.keep(scope)).unwrap_or_default();
    let scope = match requested {
        Some(text) => scopes.parse(text)?,
        None => registered.clone(),
    };
    if scope.is_empty() || !scope.is_subset(&registered) {
        return Err(ClientCredentialsError::ScopeExceeded(registered));
    }
    Ok(scope)
}
