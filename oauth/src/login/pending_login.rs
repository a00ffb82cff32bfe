//! Pending logins: stored while the user is at the identity provider.

use serde::{Deserialize, Serialize};

use super::{
    outcome::SignInOutcome,
    provider::IdentityProvider,
    result::{CallbackError, FinishedLogin},
};
use crate::{
    audit::{self, Event, RequestInfo},
    authorize::{Request, error_uri},
    pending::{self, PENDING_TTL, SecretHash, StoreUnavailable},
    server::Server,
};

/// The OAuth error code and description for a sign-in that failed and would fail again.
const SIGN_IN_FAILED: (&str, &str) = ("server_error", "the sign-in failed");

/// What a login is for.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LoginFor {
    /// An authorization request of a client.
    Client(Request),
    /// A session of the account page.
    Account,
}

/// A pending login.
#[derive(Serialize, Deserialize)]
pub(crate) struct PendingLogin {
    pub(crate) purpose: LoginFor,
    /// The hash of the cookie that binds the login to the browser.
    pub(crate) nonce: SecretHash,
    /// The PKCE verifier of this server's request to the identity provider.
    pub(crate) verifier: String,
}

impl PendingLogin {
    /// Stores a login that was started at a provider.
    pub(crate) async fn put(
        &self,
        server: &Server,
        provider: &dyn IdentityProvider,
        state: &str,
    ) -> Result<(), StoreUnavailable> {
        pending::put_as(server.pending(), provider.record_kind(), state, self, PENDING_TTL).await
    }

    /// Returns a login without removing it. `Ok(None)`: there is none that was started at this
    /// provider, or it has expired.
    pub(crate) async fn peek(
        server: &Server,
        provider: &dyn IdentityProvider,
        state: &str,
    ) -> Result<Option<Self>, StoreUnavailable> {
        pending::peek_as(server.pending(), provider.record_kind(), state).await
    }

    /// Removes and returns a login: of several concurrent callers, one gets it.
    pub(crate) async fn take(
        server: &Server,
        provider: &dyn IdentityProvider,
        state: &str,
    ) -> Result<Option<Self>, StoreUnavailable> {
        pending::take_as(server.pending(), provider.record_kind(), state).await
    }
}

impl LoginFor {
    /// Adds the client id to the request's log context.
    pub(crate) fn add_to_log_context(&self, request: &RequestInfo) {
        if let Self::Client(authorization) = self {
            request.log_context.set_client(authorization.client.as_str());
        }
    }

    pub(crate) fn event(&self, kind: audit::Kind, request: &RequestInfo) -> Event {
        let event = Event::new(kind, request);
        match self {
            Self::Client(authorization) => event.client(&authorization.client),
            Self::Account => event,
        }
    }

    /// Finishes a login that the user canceled.
    pub(crate) fn denied(&self, server: &Server) -> Result<FinishedLogin, CallbackError> {
        SignInOutcome::Denied.count();
        let error = ("access_denied", "the user denied the request");
        self.respond(server, error, CallbackError::Denied, SignInOutcome::Denied)
    }

    /// Finishes a login whose callback was rejected. `counted` is the outcome for the metrics,
    /// if the parameters are genuine. The response does not report it, because anyone can send such
    /// a request.
    pub(crate) fn rejected(
        &self,
        server: &Server,
        counted: SignInOutcome,
    ) -> Result<FinishedLogin, CallbackError> {
        counted.count();
        self.respond(server, SIGN_IN_FAILED, CallbackError::Rejected, SignInOutcome::Rejected)
    }

    /// Finishes a login that failed because the provider refuses this server, or sent a response
    /// that cannot be used.
    pub(crate) fn failed(
        &self,
        server: &Server,
        outcome: SignInOutcome,
    ) -> Result<FinishedLogin, CallbackError> {
        outcome.count();
        self.respond(server, SIGN_IN_FAILED, CallbackError::Failed, outcome)
    }

    /// Finishes a login that failed because the provider or a store of this server did not respond.
    pub(crate) fn unavailable(
        &self,
        server: &Server,
        outcome: SignInOutcome,
    ) -> Result<FinishedLogin, CallbackError> {
        outcome.count();
        let error = ("temporarily_unavailable", "the sign-in is not possible at the moment");
        self.respond(server, error, CallbackError::Unavailable, outcome)
    }

    /// Builds the redirect URI with the error `access_denied`, or `None` if no client waits.
    pub(crate) fn refusal_uri(&self, server: &Server) -> Option<String> {
        match self {
            Self::Client(authorization) => Some(authorization.error_uri(
                server,
                "access_denied",
                "the user may not use this server",
            )),
            Self::Account => None,
        }
    }

    /// Redirects to the client with an error, or returns `otherwise` if no client waits.
    fn respond(
        &self,
        server: &Server,
        (error, description): (&str, &str),
        otherwise: CallbackError,
        outcome: SignInOutcome,
    ) -> Result<FinishedLogin, CallbackError> {
        match self {
            Self::Client(authorization) => {
                let uri = authorization.error_uri(server, error, description);
                Ok(FinishedLogin::ToClient { uri, outcome })
            }
            Self::Account => Err(otherwise),
        }
    }
}

impl Request {
    fn error_uri(&self, server: &Server, error: &str, description: &str) -> String {
        error_uri(server, &self.redirect_uri, self.state.as_deref(), error, description)
    }
}
