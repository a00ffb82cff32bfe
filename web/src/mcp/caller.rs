//! Authentication at the MCP endpoint: the `Authorization` header becomes a `Caller`, or a
//! challenge that tells the client how to get a token (RFC 6750 section 3, RFC 9728 section 5.1).

use ::mcp::{
    Caller,
    http::{Challenge, TokenProblem, bearer},
};
use app::App;
use http::HeaderMap;
use oauth::access_token::TokenError;

use super::paths::{PROTECTED_RESOURCE_MCP, PROTECTED_RESOURCE_MCP_SLASH};
use crate::http::error::ApiError;

/// Why a request has no caller.
pub(crate) enum CallerError {
    /// The access token is missing, malformed or invalid.
    Challenge(Challenge),
    /// The signing keys could not be read, so the token cannot be verified.
    KeysUnavailable,
}

impl From<CallerError> for ApiError {
    fn from(error: CallerError) -> Self {
        match error {
            CallerError::Challenge(challenge) => challenge.into(),
            CallerError::KeysUnavailable => Self::unavailable(
                "The access token cannot be checked at the moment. Keep it and try again in a few \
                 seconds.",
            ),
        }
    }
}

/// Authenticates a request by its access token. Only the header is read: a token in the query would
/// end up in logs and browser histories. `path`: the path of the MCP endpoint as the client wrote
/// it.
pub(crate) async fn authenticate(
    app: &App,
    path: &str,
    headers: &HeaderMap,
) -> Result<Caller, CallerError> {
    // The challenge names all default scopes, so that one consent is enough. A client that asked for
    // fewer gets an `insufficient_scope` challenge when it needs more, but the TypeScript SDK v1,
    // which most clients use, then refreshes its token instead of starting a new authorization, and
    // never gets the scope.
    let challenge = |problem| {
        let defaults = app.product().scopes().defaults();
        let defaults: Vec<_> = defaults.iter().collect();
        let metadata = Some(resource_metadata(app, path));
        CallerError::Challenge(Challenge::new(problem, metadata, &defaults))
    };
    let token = bearer(headers).map_err(challenge)?;
    match app.oauth().tokens().verify(token).await {
        Ok(claims) => Ok(claims.caller()),
        Err(TokenError::Unavailable) => Err(CallerError::KeysUnavailable),
        Err(TokenError::Expired) => Err(challenge(TokenProblem::Expired)),
        Err(TokenError::Malformed) => Err(challenge(TokenProblem::Invalid)),
        Err(TokenError::Invalid(reason)) => {
            tracing::debug!(reason, "Refused an access token");
            Err(challenge(TokenProblem::Invalid))
        }
    }
}

/// The URL of the metadata document for the endpoint that the client uses, `/mcp` or `/mcp/`: a
/// strict client compares the `resource` of the document with the endpoint's URL (RFC 9728 section
/// 3.3).
pub(super) fn resource_metadata(app: &App, path: &str) -> String {
    let metadata =
        if path.ends_with('/') { PROTECTED_RESOURCE_MCP_SLASH } else { PROTECTED_RESOURCE_MCP };
    format!("{}{metadata}", app.config().public_url)
}
