//! GitHub as the identity provider: the login of users, and their accounts.
//!
//! GitHub is not an OpenID provider, and this server needs little of it: an authorization request,
//! the exchange of a code, and one or two queries. GitHub reports errors of the exchange with
//! status 200, so the body decides. Redirects are never followed in requests that carry a token,
//! every response is bounded in time and size, and a token is revoked as soon as it is no longer
//! needed.

use platform::{metrics, proxies::Proxies};

mod api;
mod error;

pub use self::api::{CALLBACK_PATH, GitHubSettings};
use self::api::{callback_uri, refused};
use self::error::ASK_THE_ORGANIZATION;
pub(crate) use self::{
    api::{Account, Deadline, GITHUB, GitHub, Membership},
    error::GitHubError,
};
pub use crate::sign_in::{Arrived, CallbackError, Refusal};
use crate::{
    audit::{self, RequestInfo},
    gate::{self, Closed, NotAdmitted},
    pending,
    pkce::Verifier,
    sign_in::{self, GitHubHop, Hop, Person, Purpose, SignInOutcome},
};
use crate::{server::Server, users::SignIn};

/// The maximum length of a code that is sent to GitHub, in bytes. Those of GitHub have 20.
const MAX_CODE_BYTES: usize = 256;

/// Checks the configured client id and secret at GitHub, by exchanging an invalid code.
pub async fn ask(
    settings: &GitHubSettings,
    proxies: &Proxies,
    callback: &str,
) -> anyhow::Result<()> {
    let github = GitHub::new(settings.clone(), proxies.clone());
    let verifier = Verifier::generate();
    match github.exchange("none", verifier.expose(), callback, Deadline::start()).await {
        Err(GitHubError::Refused(why)) if why != "incorrect_client_credentials" => Ok(()),
        Err(error) => Err(error.into()),
        Ok(_token) => anyhow::bail!("GitHub gave a token for a code that there is not"),
    }
}

/// The result that a callback contains.
enum Outcome<'a> {
    Code(&'a str),
    Error(&'a str),
}

/// Returns the `state` of a callback, by which its cookie is found. `None` unless there is exactly
/// one.
pub fn state_of(pairs: &[(String, String)]) -> Option<&str> {
    let mut states = pairs.iter().filter(|(name, _)| name == "state");
    match (states.next(), states.next()) {
        (Some((_, state)), None) if !state.is_empty() => Some(state),
        _ => None,
    }
}

/// Finishes a login with the callback from GitHub. `nonce` is the value of the cookie of this
/// login.
pub async fn callback(
    server: &Server,
    pairs: &[(String, String)],
    nonce: Option<&str>,
    request: &RequestInfo,
) -> Result<Arrived, CallbackError> {
    let state = state_of(pairs).ok_or(CallbackError::Malformed)?;
    let outcome = outcome(pairs).ok_or(CallbackError::Malformed)?;
    let github = server.github().ok_or(CallbackError::NotFound)?;
    let hop: GitHubHop = pending::peek(server.pending(), state)
        .await
        .inspect_err(|_| SignInOutcome::Failed.count())?
        .ok_or(CallbackError::NotFound)?;
    // Checked before the pending login is taken, so that a request from another browser cannot end
    // it.
    if !hop.0.nonce.is_of(nonce) {
        return Err(CallbackError::OtherBrowser);
    }
    hop.0.purpose.introduce(request);
    let GitHubHop(hop) = pending::take(server.pending(), state)
        .await
        .inspect_err(|_| SignInOutcome::Failed.count())?
        .ok_or(CallbackError::NotFound)?;
    match outcome {
        Outcome::Error("access_denied") => {
            let event = hop.purpose.event(audit::Kind::SignInRefused, request);
            sign_in::note(server, event.detail("the person said no at GitHub")).await;
            hop.purpose.denied(server)
        }
        Outcome::Error(code) => {
            let error = refused(code);
            failed(server, &hop.purpose, &error, request).await;
            let counted = match error.outcome() {
                SignInOutcome::Misconfigured => SignInOutcome::Misconfigured,
                _ => SignInOutcome::Rejected,
            };
            hop.purpose.rejected(server, counted)
        }
        Outcome::Code(code) => arrive(server, github, hop, code, request).await,
    }
}

async fn arrive(
    server: &Server,
    github: &GitHub,
    hop: Hop,
    code: &str,
    request: &RequestInfo,
) -> Result<Arrived, CallbackError> {
    let deadline = Deadline::start();
    let callback = callback_uri(&server.settings().public_url);
    let found = async {
        let token = github.exchange(code, &hop.verifier, &callback, deadline).await?;
        let account = github.account(&token, deadline).await?;
        Ok((token, account))
    }
    .await;
    let (token, account) = match found {
        Ok(found) => found,
        Err(error) => {
            failed(server, &hop.purpose, &error, request).await;
            return match (&error, error.outcome()) {
                (_, outcome @ SignInOutcome::Rejected) => hop.purpose.rejected(server, outcome),
                (GitHubError::Away(_), outcome) => hop.purpose.unavailable(server, outcome),
                (GitHubError::Refused(_), outcome) => hop.purpose.failed(server, outcome),
            };
        }
    };
    let user = account.user();
    request.parties.set_user(user.as_str());
    match gate::admit(server, &account, &token, deadline).await {
        Ok(()) => {}
        Err(NotAdmitted::Closed(why)) => {
            github.forget(&token);
            metrics::OAUTH_GATE_REFUSALS.count([why.as_str()]);
            if why == Closed::OrgRefuses {
                warn(ASK_THE_ORGANIZATION, "the organization refuses");
                SignInOutcome::Misconfigured.count();
            } else {
                SignInOutcome::Refused.count();
            }
            let kind = match why {
                Closed::LoginRecycled => audit::Kind::LoginRecycled,
                _ => audit::Kind::SignInRefused,
            };
            let event = hop.purpose.event(kind, request).user(&user);
            sign_in::note(server, event.detail(format!("{why} as {}", account.login))).await;
            sign_in::end_access(server, &user, why, request).await;
            return Err(CallbackError::Refused(Refusal {
                login: account.login,
                sentence: why.sentence(&server.settings().gate),
                back: hop.purpose.refusal_uri(server),
            }));
        }
        Err(NotAdmitted::GitHub(error)) => {
            github.forget(&token);
            failed(server, &hop.purpose, &error, request).await;
            return hop.purpose.unavailable(server, error.outcome());
        }
        Err(NotAdmitted::Failure(failure)) => {
            github.forget(&token);
            tracing::error!(
                dependency = failure.dependency(), error = ?failure,
                "Sign-in failed: could not check the access policy"
            );
            return hop.purpose.unavailable(server, SignInOutcome::Failed);
        }
    }
    let rules = &server.settings().gate;
    let person = Person {
        sign_in: SignIn { user, login: account.login, display_name: account.name },
        gate_checked_at: rules.is_set().then(|| server.clock().now()),
        github_token: rules.org.is_some().then(|| token.clone()),
    };
    if rules.org.is_none() {
        github.forget(&token);
    }
    sign_in::arrive(server, hop.purpose, person, request).await
}

async fn failed(server: &Server, purpose: &Purpose, error: &GitHubError, request: &RequestInfo) {
    if let Some(advice) = error.advice() {
        warn(advice, &error.to_string());
    }
    let event = purpose.event(audit::Kind::SignInFailed, request);
    sign_in::note(server, event.detail(error.to_string())).await;
}

/// Logs that GitHub refuses this server. `advice` tells the operator what to do.
fn warn(advice: &str, error: &str) {
    tracing::warn!(
        dependency = GITHUB,
        error,
        "GitHub refuses this server, so people cannot sign in. {advice}"
    );
}

fn outcome(pairs: &[(String, String)]) -> Option<Outcome<'_>> {
    let mut outcomes = pairs.iter().filter_map(|(name, value)| match name.as_str() {
        "code" => Some(Outcome::Code(value)),
        "error" => Some(Outcome::Error(value)),
        _ => None,
    });
    match (outcomes.next(), outcomes.next()) {
        (Some(Outcome::Code("") | Outcome::Error("")), _) => None,
        (Some(Outcome::Code(code)), _) if !is_plausible(code) => None,
        (one, None) => one,
        _ => None,
    }
}

/// Returns whether a text can be a code of GitHub, so that a request is worthwhile.
fn is_plausible(code: &str) -> bool {
    code.len() <= MAX_CODE_BYTES && code.bytes().all(|it| it.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use platform::{proxies::fake, secret::Secret};

    use super::*;

    #[tokio::test]
    async fn github_is_asked_through_a_proxy() {
        let (proxies, head) = fake::start(r#"{"error": "bad_verification_code"}"#);
        let settings = GitHubSettings {
            client_id: "x".into(),
            client_secret: Secret::new("x"),
            url: "http://github.example.com".into(),
            api_url: "http://github.example.com".into(),
        };
        ask(&settings, &proxies, "http://localhost/cb").await.unwrap();
        let line = "POST http://github.example.com/login/oauth/access_token HTTP/1.1";
        assert!(fake::came_for(&head.join().unwrap(), line));
    }
}
