//! The start of a login: the redirect to the identity provider.

use super::{
    pending_login::{LoginFor, PendingLogin},
    provider::{Deadline, Destination, IdentityProvider},
    report::report,
};
use crate::{
    audit::RequestInfo,
    pending::{SecretHash, StoreUnavailable, new_secret},
    pkce::Verifier,
    server::Server,
};

/// A login that was started.
#[derive(Clone, Debug)]
pub struct StartedLogin {
    /// Where the browser is sent.
    pub destination: Destination,
    /// The id of the pending login; part of the URL, and of the cookie's name.
    pub state: String,
    /// The value of the cookie that binds the pending login to the browser.
    pub nonce: String,
}

/// Why a login could not be started. Nothing has been changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartError {
    /// There is no identity provider, or none with this id.
    NoProvider,
    /// The identity provider is unavailable, or refuses this server. Contains its label.
    Provider(String),
    /// The store of pending logins is unavailable.
    Unavailable,
}

/// Starts a login for the account page, at the identity provider with this id. `None`: at the first
/// one.
pub async fn start_for_account(
    server: &Server,
    provider: Option<&str>,
    request: &RequestInfo,
) -> Result<StartedLogin, StartError> {
    let provider = server.provider_or_first(provider).ok_or(StartError::NoProvider)?;
    let purpose = LoginFor::Account;
    let login = prepare(server, provider, &purpose, request).await?;
    login.store(server, purpose).await.map_err(|error| {
        tracing::error!(%error, "Could not start a sign-in for the account page");
        StartError::Unavailable
    })
}

/// A login that is ready to be stored.
pub(crate) struct PreparedLogin<'a> {
    provider: &'a dyn IdentityProvider,
    destination: Destination,
    state: String,
    verifier: Verifier,
}

/// Prepares a login, without changing anything. Reports a failure of the provider.
pub(crate) async fn prepare<'a>(
    server: &'a Server,
    provider: &'a dyn IdentityProvider,
    purpose: &LoginFor,
    request: &RequestInfo,
) -> Result<PreparedLogin<'a>, StartError> {
    let (state, verifier) = (new_secret(), Verifier::generate());
    match provider.start(&state, &verifier, Deadline::start()).await {
        Ok(destination) => Ok(PreparedLogin { provider, destination, state, verifier }),
        Err(error) => {
            report(server, provider, purpose, &error, request).await;
            error.outcome().count();
            Err(StartError::Provider(provider.label().to_owned()))
        }
    }
}

impl PreparedLogin<'_> {
    /// Stores the login, so that its callback can finish it on any instance.
    pub(crate) async fn store(
        self,
        server: &Server,
        purpose: LoginFor,
    ) -> Result<StartedLogin, StoreUnavailable> {
        let Self { provider, destination, state, verifier } = self;
        let nonce = new_secret();
        let login = PendingLogin {
            purpose,
            nonce: SecretHash::of(&nonce),
            verifier: verifier.expose().to_owned(),
        };
        login.put(server, provider, &state).await?;
        Ok(StartedLogin { destination, state, nonce })
    }
}
