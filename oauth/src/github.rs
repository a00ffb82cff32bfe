//! GitHub: where people sign in, and who they are there.
//!
//! GitHub is not an OpenID provider, and this is all we need of it: an authorization request, the
//! exchange of a code, and one or two questions. It reports errors of the exchange with status 200,
//! so the body decides. No redirect is ever followed with a token in hand, every answer is bounded in
//! time and size, and a token is dropped as soon as nothing is left to ask.

use std::{fmt, sync::OnceLock, time::Duration};

use mcp::UserId;
use platform::metrics;
use platform::{
    outgoing::{self, careful},
    proxies::Proxies,
    secret::Secret,
};
use reqwest::{
    Method, RequestBuilder, StatusCode,
    header::{ACCEPT, CONTENT_TYPE, HeaderMap, RETRY_AFTER},
};
use serde_json::{Map, Value};
use tokio::time::Instant;
use url::form_urlencoded;

pub(super) use super::github_error::GitHubError;
pub use super::sign_in::{Arrived, CallbackError, Refusal};
use super::{
    audit::{self, RequestInfo},
    gate::{self, Closed, NotAdmitted},
    github_error::ASK_THE_ORGANIZATION,
    pending,
    pkce::{Challenge, METHOD, Verifier},
    sign_in::{self, Hop, Person, Purpose, SignInOutcome},
};
use crate::{server::Server, users::SignIn};

/// Who we are at GitHub, and where GitHub is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitHubSettings {
    /// `GITHUB_CLIENT_ID`.
    pub client_id: String,
    /// `GITHUB_CLIENT_SECRET`.
    pub client_secret: Secret,
    /// `GITHUB_URL`, without a trailing slash.
    pub url: String,
    /// `GITHUB_API_URL`, without a trailing slash.
    pub api_url: String,
}

/// How long all questions of one sign-in may take together, so that the person is not left waiting.
const PATIENCE: Duration = Duration::from_secs(5);

/// The largest answer that is read. Real ones have a few kilobytes.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// What log events call GitHub in their field `dependency`.
pub(super) const GITHUB: &str = "github";

/// The longest code that is passed on, in bytes. Those of GitHub have 20.
const MAX_CODE_BYTES: usize = 256;

/// The path of our callback, which is registered at GitHub.
pub const CALLBACK_PATH: &str = "/oauth/github/callback";

/// Our client of GitHub.
pub(crate) struct GitHub {
    settings: GitHubSettings,
    proxies: Proxies,
    /// Made at the first request: reading the certificates of the system takes a while.
    http: OnceLock<Result<reqwest::Client, String>>,
}

/// Who somebody is at GitHub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Account {
    /// The number of the account, which never changes and never passes to somebody else.
    pub(super) id: i64,
    /// The name to sign in with, which can do both.
    pub(super) login: String,
    /// The name to be called by.
    pub(super) name: Option<String>,
}

/// What GitHub says about somebody and an organisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Membership {
    /// A member.
    Active,
    /// Invited.
    Pending,
    /// Neither.
    None,
    /// The organisation does not let our app ask.
    Denied,
    /// The person has taken our permission back.
    TokenRevoked,
}

/// Until when GitHub may answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline(Instant);

impl Deadline {
    /// [`PATIENCE`] from now on.
    pub(super) fn start() -> Self {
        Self(Instant::now() + PATIENCE)
    }

    fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}

impl Account {
    /// Who they are here.
    pub(super) fn user(&self) -> UserId {
        UserId::new(format!("github:{}", self.id))
    }

    fn read(answer: &Map<String, Value>) -> Option<Self> {
        let login = answer.get("login")?.as_str()?;
        Some(Self {
            id: answer.get("id")?.as_i64().filter(|it| *it > 0)?,
            login: (!login.is_empty()).then(|| login.to_owned())?,
            name: answer
                .get("name")
                .and_then(Value::as_str)
                .filter(|it| !it.is_empty())
                .map(str::to_owned),
        })
    }
}

/// Asks GitHub whether it knows our client and its secret, by exchanging a code that nobody was given.
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

/// What came back from GitHub with the person.
enum Outcome<'a> {
    Code(&'a str),
    Error(&'a str),
}

/// The `state` of a callback, by which its cookie is found; nothing unless there is exactly one.
pub fn state_of(pairs: &[(String, String)]) -> Option<&str> {
    let mut states = pairs.iter().filter(|(name, _)| name == "state");
    match (states.next(), states.next()) {
        (Some((_, state)), None) if !state.is_empty() => Some(state),
        _ => None,
    }
}

/// Takes a person back from GitHub. `nonce` is what the browser brought in the cookie of this hop.
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
    // Before anything is used up: a stranger's browser must not end what somebody else began.
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

/// The hop to GitHub, as it waits.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub(super) struct GitHubHop(pub(super) Hop);

impl pending::Record for GitHubHop {
    const KIND: &'static str = "gh";
}

async fn arrive(
    server: &Server,
    github: &GitHub,
    hop: Hop,
    code: &str,
    request: &RequestInfo,
) -> Result<Arrived, CallbackError> {
    let deadline = Deadline::start();
    let callback = callback_uri(server);
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
                "A sign-in cannot go on: {failure}"
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

/// Logs that GitHub refuses this server. `advice`: what the operator has to do.
fn warn(advice: &str, error: &str) {
    tracing::warn!(
        dependency = GITHUB,
        error,
        "GitHub refuses this server, so people cannot sign in. {advice}"
    );
}

/// Where GitHub sends people back to.
fn callback_uri(server: &Server) -> String {
    format!("{}{CALLBACK_PATH}", server.settings().public_url)
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

/// Whether GitHub could have given a code, so that it is worth a request.
fn is_plausible(code: &str) -> bool {
    code.len() <= MAX_CODE_BYTES && code.bytes().all(|it| it.is_ascii_graphic())
}

impl GitHub {
    pub(crate) fn new(settings: GitHubSettings, proxies: Proxies) -> Self {
        Self { settings, proxies, http: OnceLock::new() }
    }

    /// Where to send a person, so that GitHub sends them back with `state`.
    pub(super) fn authorize_url(
        &self,
        server: &Server,
        state: &str,
        verifier: &Verifier,
    ) -> String {
        let challenge = Challenge::of(verifier).to_string();
        let callback = callback_uri(server);
        let mut query = form_urlencoded::Serializer::new(String::new());
        query
            .append_pair("client_id", &self.settings.client_id)
            .append_pair("redirect_uri", &callback)
            .append_pair("state", state)
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", METHOD)
            // So that nobody is signed in without noticing, nor as the wrong one of their accounts.
            .append_pair("prompt", "select_account");
        if server.settings().gate.org.is_some() {
            query.append_pair("scope", "read:org");
        }
        format!("{}/login/oauth/authorize?{}", self.settings.url, query.finish())
    }

    async fn exchange(
        &self,
        code: &str,
        verifier: &str,
        callback: &str,
        deadline: Deadline,
    ) -> Result<Secret, GitHubError> {
        let body = form_urlencoded::Serializer::new(String::new())
            .append_pair("client_id", &self.settings.client_id)
            .append_pair("client_secret", self.settings.client_secret.expose())
            .append_pair("code", code)
            .append_pair("redirect_uri", callback)
            .append_pair("code_verifier", verifier)
            .finish();
        let request = self
            .request(Method::POST, &self.settings.url, "/login/oauth/access_token", deadline)?
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(body);
        let answer = Answer::of(request).await?;
        if !answer.status.is_success() {
            return Err(answer.unexpected());
        }
        let object = answer.object()?;
        if let Some(error) = object.get("error") {
            return Err(refused(error.as_str().unwrap_or_default()));
        }
        object
            .get("access_token")
            .and_then(Value::as_str)
            .filter(|it| !it.is_empty())
            .map(Secret::new)
            .ok_or_else(|| refused("no token"))
    }

    async fn account(&self, token: &Secret, deadline: Deadline) -> Result<Account, GitHubError> {
        let answer = Answer::of(self.ask("/user", token, deadline)?).await?;
        if answer.status != StatusCode::OK {
            return Err(answer.unexpected());
        }
        Account::read(&answer.object()?).ok_or_else(|| refused("an account without a number"))
    }

    /// What a person, by their own token, is in an organisation.
    pub(super) async fn membership(
        &self,
        token: &Secret,
        org: &str,
        deadline: Deadline,
    ) -> Result<Membership, GitHubError> {
        let path = format!("/user/memberships/orgs/{org}");
        let answer = Answer::of(self.ask(&path, token, deadline)?).await?;
        match answer.status {
            StatusCode::OK => match answer.object()?.get("state").and_then(Value::as_str) {
                Some("active") => Ok(Membership::Active),
                Some("pending") => Ok(Membership::Pending),
                _ => Err(GitHubError::Away("a membership without a state")),
            },
            StatusCode::NOT_FOUND => Ok(Membership::None),
            StatusCode::UNAUTHORIZED => Ok(Membership::TokenRevoked),
            StatusCode::FORBIDDEN if !answer.too_many => Ok(Membership::Denied),
            _ => Err(GitHubError::Away("no answer about a membership")),
        }
    }

    /// Gives a token back that is of no use any more. Best effort, while nobody waits.
    fn forget(&self, token: &Secret) {
        let path = format!("/applications/{}/token", self.settings.client_id);
        let Ok(request) =
            self.request(Method::DELETE, &self.settings.api_url, &path, Deadline::start())
        else {
            return;
        };
        let request = request
            .basic_auth(&self.settings.client_id, Some(self.settings.client_secret.expose()))
            .header(ACCEPT, "application/vnd.github+json")
            .json(&serde_json::json!({ "access_token": token.expose() }));
        tokio::spawn(async move {
            if let Err(error) = Answer::of(request).await {
                tracing::debug!("A token was not given back to GitHub: {error}");
            }
        });
    }

    fn ask(
        &self,
        path: &str,
        token: &Secret,
        deadline: Deadline,
    ) -> Result<RequestBuilder, GitHubError> {
        Ok(self
            .request(Method::GET, &self.settings.api_url, path, deadline)?
            .bearer_auth(token.expose())
            .header(ACCEPT, "application/vnd.github+json"))
    }

    fn request(
        &self,
        method: Method,
        base: &str,
        path: &str,
        deadline: Deadline,
    ) -> Result<RequestBuilder, GitHubError> {
        let http = self
            .http
            .get_or_init(|| make_http(&self.proxies).map_err(|error| error.to_string()))
            .as_ref()
            .map_err(|error| {
                tracing::error!("GitHub cannot be asked: {error}");
                GitHubError::Away("there is no client for it")
            })?;
        Ok(http.request(method, format!("{base}{path}")).timeout(deadline.left()))
    }
}

fn make_http(proxies: &Proxies) -> reqwest::Result<reqwest::Client> {
    careful(proxies)?
        .connect_timeout(PATIENCE)
        .timeout(PATIENCE)
        .user_agent(concat!("notes-mcp/", env!("CARGO_PKG_VERSION")))
        .build()
}

impl fmt::Debug for GitHub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GitHub").field("url", &self.settings.url).finish_non_exhaustive()
    }
}

/// What somebody else says went wrong, cut to what such a word looks like: it goes into the log.
fn refused(word: &str) -> GitHubError {
    let plain = word
        .chars()
        .filter(|it| it.is_ascii_alphanumeric() || *it == '_' || *it == ' ')
        .take(60)
        .collect();
    GitHubError::Refused(plain)
}

/// An answer, read within its bounds.
struct Answer {
    status: StatusCode,
    /// We have asked too much, which GitHub says with the status of a refusal.
    too_many: bool,
    body: Vec<u8>,
}

impl Answer {
    /// Sends a request, and counts how that went.
    async fn of(request: RequestBuilder) -> Result<Self, GitHubError> {
        let started = Instant::now();
        let answer = Self::read(request).await;
        let outcome = match &answer {
            Ok(answer) if answer.status.is_success() => "ok",
            Ok(answer) if answer.too_many => "too_many",
            Ok(answer) if answer.status.is_server_error() => "error",
            Ok(_) => "refused",
            Err(_) => "unreachable",
        };
        metrics::GITHUB_REQUEST_DURATION.took([outcome], started.elapsed());
        answer
    }

    async fn read(request: RequestBuilder) -> Result<Self, GitHubError> {
        let answered = outgoing::send(request).await.map_err(|error| away(&error))?;
        if let Some(left) = quota(answered.headers()) {
            metrics::GITHUB_RATE_LIMIT_REMAINING.set([], left);
        }
        let (status, too_many) = (answered.status(), is_too_many(answered.headers()));
        let body = answered.body(MAX_ANSWER_BYTES).await.map_err(|error| away(&error))?;
        let body = body.ok_or(GitHubError::Away("an endless answer"))?;
        Ok(Self { status, too_many, body })
    }

    fn object(&self) -> Result<Map<String, Value>, GitHubError> {
        serde_json::from_slice(&self.body)
            .map_err(|_not_github| GitHubError::Away("an answer that is no JSON object"))
    }

    /// A status that no rule is about.
    fn unexpected(&self) -> GitHubError {
        let refuses = self.status.is_client_error()
            && self.status != StatusCode::TOO_MANY_REQUESTS
            && self.status != StatusCode::REQUEST_TIMEOUT
            && !self.too_many;
        if refuses {
            GitHubError::Refused(format!("status {}", self.status.as_u16()))
        } else {
            GitHubError::Away("an unexpected status")
        }
    }
}

fn away(error: &reqwest::Error) -> GitHubError {
    // Its text names the address, which is nobody's secret: codes and tokens are in bodies and headers.
    tracing::warn!(dependency = GITHUB, error = ?error, "GitHub does not answer: {error}");
    GitHubError::Away(if error.is_timeout() { "no answer in time" } else { "no connection" })
}

/// What is left of the quota, in requests.
fn quota(headers: &HeaderMap) -> Option<f64> {
    let left: u32 = headers.get("x-ratelimit-remaining")?.to_str().ok()?.parse().ok()?;
    Some(f64::from(left))
}

fn is_too_many(headers: &HeaderMap) -> bool {
    headers.contains_key(RETRY_AFTER)
        || headers.get("x-ratelimit-remaining").is_some_and(|it| it == "0")
}

#[cfg(test)]
mod tests {
    use platform::proxies::fake;

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
