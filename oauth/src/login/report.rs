//! Reports of failed requests to identity providers: to the audit log, and to the operator.

use super::{
    pending_login::LoginFor,
    provider::{Cause, IdentityProvider, ProviderError},
};
use crate::{
    audit::{self, RequestInfo},
    record,
    server::Server,
};

/// Writes a failed request to the provider to the audit log, and warns the operator if the provider
/// refuses this server.
pub(crate) async fn report(
    server: &Server,
    provider: &dyn IdentityProvider,
    purpose: &LoginFor,
    error: &ProviderError,
    request: &RequestInfo,
) {
    if let Cause::Misconfigured(advice) = error.cause {
        warn(provider, advice, &error.message);
    }
    let event = purpose.event(audit::Kind::SignInFailed, request);
    record::note(server, event.detail(error.message.clone())).await;
}

/// Describes as whom a user signed in, for the audit log, which is also written to the log. `None`: the
/// login is an e-mail address, which does not belong there; the identity suffices.
pub(super) fn as_login(login: &str) -> Option<String> {
    (!login.contains('@')).then(|| format!("as {login}"))
}

/// Logs that a provider refuses this server. `advice` tells the operator what to do.
pub(super) fn warn(provider: &dyn IdentityProvider, advice: &str, error: &str) {
    tracing::warn!(
        dependency = provider.id(),
        error,
        "{} refuses this server, so users cannot sign in. {advice}",
        provider.label()
    );
}
