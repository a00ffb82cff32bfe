//! The client of GitHub's OAuth endpoints and API.

use std::{fmt, sync::OnceLock};

use platform::{
    metrics,
    outgoing::{self, client_builder},
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

use super::{error::GitHubError, settings::GitHubSettings};
use crate::{
    login::provider::{Deadline, LOGIN_TIMEOUT, Membership},
    pkce::{Challenge, METHOD, Verifier},
};

/// The path of the callback, which is registered at GitHub.
pub const CALLBACK_PATH: &str = "/oauth/github/callback";

/// The maximum size of a response, in bytes. Real ones have a few kilobytes.
const MAX_RESPONSE_BYTES: usize = 64 * 1024;

/// The value of the field `dependency` in log events about GitHub.
pub(super) const GITHUB: &str = "github";

/// The client of GitHub.
pub(super) struct GitHubClient {
    settings: GitHubSettings,
    proxies: Proxies,
    program: &'static str,
    /// Created at the first request: reading the system's certificates takes a while.
    http: OnceLock<Result<reqwest::Client, String>>,
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
        Self { settings, proxies, program, http: OnceLock::new() }
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
        let response = ApiResponse::of(request).await?;
        if !response.status.is_success() {
            return Err(response.unexpected());
        }
        let object = response.object()?;
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

    pub(super) async fn account(
        &self,
        token: &Secret,
        deadline: Deadline,
    ) -> Result<Account, GitHubError> {
        let response = ApiResponse::of(self.get("/user", token, deadline)?).await?;
        if response.status != StatusCode::OK {
            return Err(response.unexpected());
        }
        Account::read(&response.object()?).ok_or_else(|| refused("an account without an id"))
    }

    /// Queries the membership of a user in an organization, with the user's own token.
    pub(super) async fn membership(
        &self,
        token: &Secret,
        org: &str,
        deadline: Deadline,
    ) -> Result<Membership, GitHubError> {
        let path = format!("/user/memberships/orgs/{org}");
        let response = ApiResponse::of(self.get(&path, token, deadline)?).await?;
        match response.status {
            StatusCode::OK => match response.object()?.get("state").and_then(Value::as_str) {
                Some("active") => Ok(Membership::Active),
                Some("pending") => Ok(Membership::Pending),
                _ => Err(GitHubError::Unavailable("unknown state of a membership")),
            },
            StatusCode::NOT_FOUND => Ok(Membership::None),
            StatusCode::UNAUTHORIZED => Ok(Membership::TokenRevoked),
            StatusCode::FORBIDDEN if !response.is_rate_limited => Ok(Membership::Denied),
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
        tokio::spawn(async move {
            if let Err(error) = ApiResponse::of(request).await {
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
        let http = self
            .http
            .get_or_init(|| {
                make_http(&self.proxies, self.program).map_err(|error| error.to_string())
            })
            .as_ref()
            .map_err(|error| {
                tracing::error!(%error, "Could not create the HTTP client for GitHub");
                GitHubError::Unavailable("the HTTP client could not be created")
            })?;
        Ok(http.request(method, format!("{base}{path}")).timeout(deadline.left()))
    }
}

fn make_http(proxies: &Proxies, program: &str) -> reqwest::Result<reqwest::Client> {
    client_builder(proxies)?
        .connect_timeout(LOGIN_TIMEOUT)
        .timeout(LOGIN_TIMEOUT)
        .user_agent(format!("{program}/{}", env!("CARGO_PKG_VERSION")))
        .build()
}

impl fmt::Debug for GitHubClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GitHubClient").field("url", &self.settings.url).finish_non_exhaustive()
    }
}

/// Builds an error from an error code of GitHub, reduced to the characters and length of such a
/// code, because it is logged.
pub(super) fn refused(word: &str) -> GitHubError {
    let plain = word
        .chars()
        .filter(|it| it.is_ascii_alphanumeric() || *it == '_' || *it == ' ')
        .take(60)
        .collect();
    GitHubError::Refused(plain)
}

/// A response, read within its bounds.
struct ApiResponse {
    status: StatusCode,
    /// The rate limit is exceeded, which GitHub reports with the status of a refusal.
    is_rate_limited: bool,
    body: Vec<u8>,
}

impl ApiResponse {
    /// Sends a request, and measures its outcome and duration.
    async fn of(request: RequestBuilder) -> Result<Self, GitHubError> {
        let started = Instant::now();
        let response = Self::read(request).await;
        let outcome = match &response {
            Ok(response) if response.status.is_success() => "ok",
            Ok(response) if response.is_rate_limited => "too_many",
            Ok(response) if response.status.is_server_error() => "error",
            Ok(_) => "refused",
            Err(_) => "unreachable",
        };
        metrics::GITHUB_REQUEST_DURATION.observe([outcome], started.elapsed());
        response
    }

    async fn read(request: RequestBuilder) -> Result<Self, GitHubError> {
        let answered = outgoing::send(request).await.map_err(|error| unavailable(&error))?;
        if let Some(left) = quota(answered.headers()) {
            metrics::GITHUB_RATE_LIMIT_REMAINING.set([], left);
        }
        let (status, is_rate_limited) =
            (answered.status(), has_rate_limit_headers(answered.headers()));
        let body = answered.body(MAX_RESPONSE_BYTES).await.map_err(|error| unavailable(&error))?;
        let body = body.ok_or(GitHubError::Unavailable("the response is too large"))?;
        Ok(Self { status, is_rate_limited, body })
    }

    fn object(&self) -> Result<Map<String, Value>, GitHubError> {
        serde_json::from_slice(&self.body)
            .map_err(|_not_github| GitHubError::Unavailable("the response is not a JSON object"))
    }

    /// Returns the error for a status without a rule.
    fn unexpected(&self) -> GitHubError {
        let refuses = self.status.is_client_error()
            && self.status != StatusCode::TOO_MANY_REQUESTS
            && self.status != StatusCode::REQUEST_TIMEOUT
            && !self.is_rate_limited;
        if refuses {
            GitHubError::Refused(format!("status {}", self.status.as_u16()))
        } else {
            GitHubError::Unavailable("unexpected status")
        }
    }
}

fn unavailable(error: &reqwest::Error) -> GitHubError {
    // The error contains the URL, which is not secret: codes and tokens are in bodies and headers.
    tracing::warn!(dependency = GITHUB, error = ?error, "GitHub does not answer");
    GitHubError::Unavailable(if error.is_timeout() {
        "no response in time"
    } else {
        "no connection"
    })
}

/// Returns the remaining quota, in requests.
fn quota(headers: &HeaderMap) -> Option<f64> {
    let left: u32 = headers.get("x-ratelimit-remaining")?.to_str().ok()?.parse().ok()?;
    Some(f64::from(left))
}

/// Returns whether headers say that the rate limit is exceeded.
fn has_rate_limit_headers(headers: &HeaderMap) -> bool {
    headers.contains_key(RETRY_AFTER)
        || headers.get("x-ratelimit-remaining").is_some_and(|it| it == "0")
}
