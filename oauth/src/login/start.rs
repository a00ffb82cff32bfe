//! The start of a login: the redirect to the identity provider.

use super::{
    pending_login::{LoginFor, PendingLogin},
    provider::Destination,
};
use crate::{
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

/// Starts a login for the account page. `Ok(None)`: the server has no identity provider.
pub async fn start_for_account(server: &Server) -> Result<Option<StartedLogin>, StoreUnavailable> {
    start(server, LoginFor::Account).await
}

/// Starts a login. `Ok(None)`: the server has no identity provider.
pub(crate) async fn start(
    server: &Server,
    purpose: LoginFor,
) -> Result<Option<StartedLogin>, StoreUnavailable> {
    let Some(provider) = server.provider() else { return Ok(None) };
    let (state, nonce, verifier) = (new_secret(), new_secret(), Verifier::generate());
    let login = PendingLogin {
        purpose,
        nonce: SecretHash::of(&nonce),
        verifier: verifier.expose().to_owned(),
    };
    login.put(server, provider, &state).await?;
    Ok(Some(StartedLogin { destination: provider.start(&state, &verifier), state, nonce }))
}
