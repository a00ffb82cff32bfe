//! The return of a user from the identity provider: the callback, and the form of the page that
//! asks for a name.

use std::borrow::Cow;

use platform::{db::Failure, metrics};

use super::{
    complete::{AdmittedUser, complete},
    development,
    outcome::SignInOutcome,
    pending_login::{LoginFor, PendingLogin},
    policy::{self, DenialReason, NotAdmitted},
    provider::{
        CallbackResult, Cause, CodeExchange, Deadline, ISSUER_PARAMETER, Identity,
        IdentityProvider, InvalidCallback, ProviderError,
    },
    report::{as_login, report, warn},
    result::{CallbackError, FinishedLogin, Refusal},
    users::{self, SignIn},
};
use crate::{
    audit::{self, RequestInfo},
    display_name::DisplayName,
    grant::Reason,
    record, revoke,
    server::Server,
};

/// The content of the page that asks for a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamePageView {
    /// The name of the client that waits. `None`: the login is for the account page.
    pub client_name: Option<DisplayName>,
}

/// Returns the `state` of a callback, by which its cookie is found. `None` unless there is exactly
/// one.
pub fn state_of(parameters: &[(String, String)]) -> Option<&str> {
    let mut states = parameters.iter().filter(|(name, _)| name == "state");
    match (states.next(), states.next()) {
        (Some((_, state)), None) if !state.is_empty() => Some(state),
        _ => None,
    }
}

/// Finishes a login with the callback of a provider. `nonce` is the value of the cookie of this
/// login.
pub async fn callback(
    server: &Server,
    provider: &str,
    parameters: &[(String, String)],
    nonce: Option<&str>,
    request: &RequestInfo,
) -> Result<FinishedLogin, CallbackError> {
    let state = state_of(parameters).ok_or(CallbackError::Malformed)?;
    let provider =
        server.provider_named(provider).filter(|provider| provider.callback_path().is_some());
    let provider = provider.ok_or(CallbackError::NotFound)?;
    finish(server, provider, parameters, state, nonce, request).await
}

/// Returns the content of the page that asks for a name.
pub async fn name_page(
    server: &Server,
    state: &str,
    nonce: Option<&str>,
) -> Result<NamePageView, CallbackError> {
    let provider = name_page_provider(server)?;
    let login = peek(server, provider, state, nonce).await?;
    Ok(NamePageView {
        client_name: match login.purpose {
            LoginFor::Client(request) => Some(request.client_name),
            LoginFor::Account => None,
        },
    })
}

/// Finishes a login with the name that the user entered on that page.
pub async fn submit_name(
    server: &Server,
    state: &str,
    nonce: Option<&str>,
    name: &str,
    request: &RequestInfo,
) -> Result<FinishedLogin, CallbackError> {
    let provider = name_page_provider(server)?;
    let parameters = [(development::NAME.to_owned(), name.to_owned())];
    finish(server, provider, &parameters, state, nonce, request).await
}

/// Returns the provider whose users enter their name on this server's page.
fn name_page_provider(server: &Server) -> Result<&dyn IdentityProvider, CallbackError> {
    let provider = server.providers().iter().find(|provider| provider.callback_path().is_none());
    provider.map(|provider| &**provider).ok_or(CallbackError::NotFound)
}

async fn finish(
    server: &Server,
    provider: &dyn IdentityProvider,
    parameters: &[(String, String)],
    state: &str,
    nonce: Option<&str>,
    request: &RequestInfo,
) -> Result<FinishedLogin, CallbackError> {
    let result = match provider.read_callback(parameters) {
        Err(InvalidCallback::Malformed) => return Err(CallbackError::Malformed),
        Err(InvalidCallback::Name) => None,
        Ok(result) => Some(result),
    };
    // Checked before the pending login is taken, so that a request from another browser cannot end
    // it.
    peek(server, provider, state, nonce).await?.purpose.add_to_log_context(request);
    let result = result.ok_or(CallbackError::Name)?;
    let login = PendingLogin::take(server, provider, state)
        .await
        .inspect_err(|_| SignInOutcome::Failed.count())?
        .ok_or(CallbackError::NotFound)?;
    let deadline = Deadline::start();
    let names_issuer = parameters.iter().any(|(name, _)| name == ISSUER_PARAMETER);
    if !names_issuer && let Err(error) = check_missing_issuer(provider, deadline).await {
        return failed(server, provider, &login.purpose, &error, request).await;
    }
    match result {
        CallbackResult::Canceled => {
            let event = login.purpose.event(audit::Kind::SignInRefused, request);
            let detail = format!("the user canceled the sign-in at {}", provider.label());
            record::note(server, event.detail(detail)).await;
            login.purpose.denied(server)
        }
        CallbackResult::Error(error) => {
            report(server, provider, &login.purpose, &error, request).await;
            let counted = match error.outcome() {
                SignInOutcome::Misconfigured => SignInOutcome::Misconfigured,
                _ => SignInOutcome::Rejected,
            };
            login.purpose.rejected(server, counted)
        }
        CallbackResult::Code(code) => {
            authenticate(server, provider, login, &code, deadline, request).await
        }
    }
}

/// Refuses a callback without the parameter `iss` if the provider sends it always (RFC 9207, section
/// 2.4): it may be the response of another provider.
async fn check_missing_issuer(
    provider: &dyn IdentityProvider,
    deadline: Deadline,
) -> Result<(), ProviderError> {
    if provider.requires_issuer(deadline).await? {
        let message = format!("the response does not name {} as its issuer", provider.label());
        Err(ProviderError { message, cause: Cause::Rejected })
    } else {
        Ok(())
    }
}

/// Finishes a login for which a request to the provider failed.
async fn failed(
    server: &Server,
    provider: &dyn IdentityProvider,
    purpose: &LoginFor,
    error: &ProviderError,
    request: &RequestInfo,
) -> Result<FinishedLogin, CallbackError> {
    report(server, provider, purpose, error, request).await;
    let outcome = error.outcome();
    match error.cause {
        Cause::Rejected => purpose.rejected(server, outcome),
        Cause::Unavailable => purpose.unavailable(server, outcome),
        Cause::Misconfigured(_) | Cause::Unusable => purpose.failed(server, outcome),
    }
}

async fn peek(
    server: &Server,
    provider: &dyn IdentityProvider,
    state: &str,
    nonce: Option<&str>,
) -> Result<PendingLogin, CallbackError> {
    let login = PendingLogin::peek(server, provider, state)
        .await
        .inspect_err(|_| SignInOutcome::Failed.count())?
        .ok_or(CallbackError::NotFound)?;
    if login.nonce.is_of(nonce) { Ok(login) } else { Err(CallbackError::OtherBrowser) }
}

/// Gets the identity of the user from the provider, checks the access policy, and completes the
/// login.
async fn authenticate(
    server: &Server,
    provider: &dyn IdentityProvider,
    login: PendingLogin,
    code: &str,
    deadline: Deadline,
    request: &RequestInfo,
) -> Result<FinishedLogin, CallbackError> {
    let purpose = login.purpose;
    let now = server.clock().now();
    let exchange = CodeExchange { code, verifier: &login.verifier, now, deadline };
    let identity = match provider.finish(exchange).await {
        Ok(identity) => identity,
        Err(error) => return failed(server, provider, &purpose, &error, request).await,
    };
    let user = identity.user(provider);
    request.log_context.set_user(user.as_str());
    if let Err(why) = policy::admit(server, provider, &identity, deadline).await {
        if let Some(token) = &identity.token {
            provider.revoke_token(token);
        }
        return refused(server, provider, &purpose, &identity, why, request).await;
    }
    let policy = provider.policy();
    let Identity { login, name, token, .. } = identity;
    let rules = policy.remote_rules();
    let stored_token = token.filter(|token| {
        if rules.is_none() {
            provider.revoke_token(token);
        }
        rules.is_some()
    });
    let admitted = AdmittedUser {
        sign_in: SignIn { user, login, display_name: name },
        gate_checked_at: policy.is_set().then(|| server.clock().now()),
        rules: rules.map(Cow::into_owned),
        token: stored_token,
    };
    complete(server, purpose, admitted, request).await
}

/// Finishes the login of a user who was not admitted: because the access policy refuses the user,
/// or because it could not be checked.
async fn refused(
    server: &Server,
    provider: &dyn IdentityProvider,
    purpose: &LoginFor,
    identity: &Identity,
    why: NotAdmitted,
    request: &RequestInfo,
) -> Result<FinishedLogin, CallbackError> {
    let why = match why {
        NotAdmitted::Denied(why) => why,
        NotAdmitted::Provider(error) => {
            report(server, provider, purpose, &error, request).await;
            return purpose.unavailable(server, error.outcome());
        }
        NotAdmitted::Failure(failure) => {
            tracing::error!(
                dependency = failure.dependency(), error = ?failure,
                "Sign-in failed: could not check the access policy"
            );
            return purpose.unavailable(server, SignInOutcome::Failed);
        }
    };
    let user = identity.user(provider);
    metrics::OAUTH_GATE_REFUSALS.increment([why.as_str()]);
    if why == DenialReason::OrgRefuses {
        warn(provider, provider.membership_advice(), "the organization refuses");
        SignInOutcome::Misconfigured.count();
    } else {
        SignInOutcome::Refused.count();
    }
    let kind = match why {
        DenialReason::LoginRecycled => audit::Kind::LoginRecycled,
        _ => audit::Kind::SignInRefused,
    };
    let event = purpose.event(kind, request).user(&user);
    let detail = [Some(why.to_string()), as_login(&identity.login)];
    let detail = detail.into_iter().flatten().collect::<Vec<_>>().join(" ");
    record::note(server, event.detail(detail)).await;
    end_access(server, &user, why, request).await;
    Err(CallbackError::Refused(Refusal {
        login: identity.login.clone(),
        sentence: why.sentence(provider.policy(), provider.label()),
        back: purpose.refusal_uri(server),
    }))
}

/// Ends all access of a user whom the access policy now refuses. Does nothing unless the refusal is
/// definite ([`DenialReason::is_definite`]).
async fn end_access(server: &Server, user: &mcp::UserId, why: DenialReason, request: &RequestInfo) {
    if !why.is_definite() {
        return;
    }
    let ended = async {
        // A user without a row has no access to end.
        if users::get(server.db(), user).await?.is_some() {
            revoke::user(server, user, Reason::PolicyDenied(why), request).await?;
        }
        Ok::<_, Failure>(())
    };
    if let Err(failure) = ended.await {
        tracing::error!(
            user = user.as_str(), dependency = failure.dependency(), error = ?failure,
            "Could not end the access of {user}; it ends at the next refresh"
        );
    }
}
