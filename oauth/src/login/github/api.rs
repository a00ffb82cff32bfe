//! The client of GitHub's OAuth endpoints and API.

use std::{fmt, sync::Arc};

use platform::{metrics, proxies::Proxies, secret::Secret};
use reqwest::{
    Method, RequestBuilder, StatusCode,
    header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER},
};
use serde_json::{Map, Value};
use tokio::time::Instant;
use url::form_urlencoded;

use super::{error::GitHubError, settings::GitHubSettings};
use crate::{
    login::{
        http::{Names, NoResponse, ProviderHttp, Response, is_refusal, outcome},
        provider::{Deadline, Membership},
    },
    pkce::{Challenge, METHOD, Verifier},
};

/// The path of the callback, which is registered at GitHub.
pub const CALLBACK_PATH: &str = "/oauth/github/callback";

/// The maximum size of a response, in bytes. Real ones have a few kilobytes.
const MAX_RESPONSE_BYTES: usize = 64 * 1024;

/// The client of GitHub.
pub(super) struct GitHubClient {
    settings: GitHubSettings,
    http: Arc<ProviderHttp>,
}

/// An account at GitHub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Account {
    /// The id of the account, which never changes and is never reassigned.
    pub(super) id: i64,
    /// The login name, which can change and be reassigned.
    pub(super) login: String,
    /// The display name.
    pub(super) name: Option<String>,
}

impl Account {
    fn read(response: &Map<String, Value>) -> Option<Self> {
        let login = response.get("login")?.as_str()?;
        Some(Self {
            id: response.get("id")?.as_i64().filter(|it| *it > 0)?,
            login: (!login.is_empty()).then(|| login.to_owned())?,
            name: response
                .get("name")
                .and_then(Value::as_str)
                .filter(|it| !it.is_empty())
                .map(str::to_owned),
        })
    }
}

impl GitHubClient {
    pub(super) fn new(settings: GitHubSettings, proxies: Proxies, program: &'static str) -> Self {
        let names = Names { dependency: "github".to_owned(), label: "GitHub".to_owned() };
        Self { settings, http: Arc::new(ProviderHttp::new(names, proxies, program)) }
    }

    /// Builds the authorization URL at GitHub. GitHub redirects back with `state`.
    pub(super) fn authorize_url(
        &self,
        callback: &str,
        asks_for_membership: bool,
        state: &str,
        verifier: &Verifier,
    ) -> String {
        let challenge = Challenge::of(verifier).to_string();
        let mut query = form_urlencoded::Serializer::new(String::new());
        query
            .append_pair("client_id", &self.settings.client_id)
            .append_pair("redirect_uri", callback)
            .append_pair("state", state)
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", METHOD)
            // GitHub then asks which account to use, so that no user is signed in unnoticed, or
            // with the wrong one of their accounts.
            .append_pair("prompt", "select_account");
        if asks_for_membership {
            query.append_pair("scope", "read:org");
        }
        format!("{}/login/oauth/authorize?{}", self.settings.url, query.finish())
    }

    pub(super) async fn exchange(
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
        let response = send(&self.http, request).await?;
        if !response.status.is_success() {
            return Err(unexpected(&response));
        }
        let object = response.object()?;
        if let Some(error) = object.get("error") {
            return Err(GitHubError::refused(error.as_str().unwrap_or_default()));
        }
        object
            .get("access_token")
            .and_then(Value::as_str)
            .filter(|it| !it.is_empty())
            .map(Secret::new)
            .ok_or_else(|| GitHubError::refused("no token"))
    }

    pub(super) async fn account(
        &self,
        token: &Secret,
        deadline: Deadline,
    ) -> Result<Account, GitHubError> {
        let response = send(&self.http, self.get("/user", token, deadline)?).await?;
        if response.status != StatusCode::OK {
            return Err(unexpected(&response));
        }
        Account::read(&response.object()?)
            .ok_or_else(|| GitHubError::refused("an account without an id"))
    }

    /// Queries the membership of a user in an organization, with the user's own token.
    pub(super) async fn membership(
        &self,
        token: &Secret,
        org: &str,
        deadline: Deadline,
    ) -> Result<Membership, GitHubError> {
        let path = format!("/user/memberships/orgs/{org}");
        let response = send(&self.http, self.get(&path, token, deadline)?).await?;
        match response.status {
            StatusCode::OK => match response.object()?.get("state").and_then(Value::as_str) {
                Some("active") => Ok(Membership::Active),
                Some("pending") => Ok(Membership::Pending),
                _ => Err(GitHubError::Unavailable("unknown state of a membership")),
            },
            StatusCode::NOT_FOUND => Ok(Membership::None),
            StatusCode::UNAUTHORIZED => Ok(Membership::TokenRevoked),
            StatusCode::FORBIDDEN if !is_rate_limited(&response) => Ok(Membership::Denied),
            _ => Err(GitHubError::Unavailable("unexpected response to the query of a membership")),
        }
    }

    /// Revokes a token that is no longer needed. Best effort, in the background.
    pub(super) fn revoke_token(&self, token: &Secret) {
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
        let http = Arc::clone(&self.http);
        tokio::spawn(async move {
            if let Err(error) = send(&http, request).await.map_err(GitHubError::from) {
                tracing::debug!(%error, "Could not revoke a token at GitHub");
            }
        });
    }

    fn get(
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
        let http = self.http.client()?;
        Ok(http.request(method, format!("{base}{path}")).timeout(deadline.left()))
    }
}

impl fmt::Debug for GitHubClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GitHubClient").field("url", &self.settings.url).finish_non_exhaustive()
    }
}

/// Sends a request, and measures its outcome and duration.
async fn send(http: &ProviderHttp, request: RequestBuilder) -> Result<Response, NoResponse> {
    let started = Instant::now();
    let response = http.send(request, MAX_RESPONSE_BYTES).await;
    if let Some(left) = response.as_ref().ok().and_then(quota) {
        metrics::GITHUB_RATE_LIMIT_REMAINING.set([], left);
    }
    let outcome = outcome(&response, is_rate_limited);
    metrics::GITHUB_REQUEST_DURATION.observe([outcome], started.elapsed());
    response
}

/// Returns the error for a status without a rule.
fn unexpected(response: &Response) -> GitHubError {
    if is_refusal(response.status) && !is_rate_limited(response) {
        GitHubError::Refused(format!("status {}", response.status.as_u16()))
    } else {
        GitHubError::Unavailable("unexpected status")
    }
}

/// Returns the remaining quota, in requests.
fn quota(response: &Response) -> Option<f64> {
    let left = response.headers.get("x-ratelimit-remaining")?;
    let left: u32 = left.to_str().ok()?.parse().ok()?;
    Some(f64::from(left))
}

/// Returns whether the rate limit is exceeded, which GitHub reports with the status of a refusal.
fn is_rate_limited(response: &Response) -> bool {
    response.headers.contains_key(RETRY_AFTER)
        || response.headers.get("x-ratelimit-remaining").is_some_and(|it| it == "0")
}
