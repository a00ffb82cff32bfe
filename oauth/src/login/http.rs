//! What requests to all identity providers share: bounds in time and size, and no redirects, so that
//! tokens and credentials are sent only to the endpoints of the provider.

use std::{fmt, sync::OnceLock};

use platform::{
    outgoing::{self, client_builder},
    proxies::Proxies,
};
use reqwest::{RequestBuilder, StatusCode, header::HeaderMap};
use serde_json::{Map, Value};

use super::provider::LOGIN_TIMEOUT;

/// The maximum length of an error code that is logged.
const MAX_CODE_CHARS: usize = 60;

/// The HTTP client for requests to one provider.
pub(super) struct ProviderHttp {
    /// The name of the provider in log events: as `dependency`, and in their text.
    names: Names,
    proxies: Proxies,
    program: &'static str,
    /// Created at the first request: reading the system's certificates takes a while.
    client: OnceLock<Result<reqwest::Client, String>>,
}

/// The name of a provider in log events.
pub(super) struct Names {
    /// The value of the field `dependency`.
    pub(super) dependency: String,
    /// The name in the text.
    pub(super) label: String,
}

/// A response, read within its bounds.
pub(super) struct Response {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

/// Why there is no usable response: a retry may succeed. Contains no text of the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoResponse(pub(super) &'static str);

impl ProviderHttp {
    /// `program` is part of the user agent.
    pub(super) fn new(names: Names, proxies: Proxies, program: &'static str) -> Self {
        Self { names, proxies, program, client: OnceLock::new() }
    }

    /// The name of the provider in log events and metrics.
    pub(super) fn provider(&self) -> &str {
        &self.names.dependency
    }

    pub(super) fn client(&self) -> Result<&reqwest::Client, NoResponse> {
        let created = self.client.get_or_init(|| self.create().map_err(|error| error.to_string()));
        created.as_ref().map_err(|error| {
            tracing::error!(%error, "Could not create the HTTP client for {}", self.names.label);
            NoResponse("the HTTP client could not be created")
        })
    }

    fn create(&self) -> reqwest::Result<reqwest::Client> {
        client_builder(&self.proxies)?
            .connect_timeout(LOGIN_TIMEOUT)
            .timeout(LOGIN_TIMEOUT)
            .user_agent(format!("{}/{}", self.program, env!("CARGO_PKG_VERSION")))
            .build()
    }

    /// Sends a request, and reads the response up to this size. A failure has been logged.
    pub(super) async fn send(
        &self,
        request: RequestBuilder,
        max_bytes: usize,
    ) -> Result<Response, NoResponse> {
        let answered = outgoing::send(request).await.map_err(|error| self.unavailable(&error))?;
        let (status, headers) = (answered.status(), answered.headers().clone());
        let body = answered.body(max_bytes).await.map_err(|error| self.unavailable(&error))?;
        let body = body.ok_or(NoResponse("the response is too large"))?;
        Ok(Response { status, headers, body })
    }

    fn unavailable(&self, error: &reqwest::Error) -> NoResponse {
        // The error contains the URL, which is not secret: codes and tokens are in bodies and headers.
        let Names { dependency, label } = &self.names;
        tracing::warn!(dependency, error = ?error, "{label} does not answer");
        NoResponse(if error.is_timeout() { "no response in time" } else { "no connection" })
    }
}

impl fmt::Debug for ProviderHttp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("ProviderHttp");
        debug.field("provider", &self.provider()).finish_non_exhaustive()
    }
}

impl Response {
    /// Decodes the body, which must be a JSON object.
    pub(super) fn object(&self) -> Result<Map<String, Value>, NoResponse> {
        serde_json::from_slice(&self.body)
            .map_err(|_not_json| NoResponse("the response is not a JSON object"))
    }
}

/// The outcome of a request, as a label of metrics. `is_rate_limited`: whether a response says that the
/// rate limit of the provider is exceeded.
pub(super) fn outcome(
    response: &Result<Response, NoResponse>,
    is_rate_limited: impl Fn(&Response) -> bool,
) -> &'static str {
    match response {
        Ok(response) if response.status.is_success() => "ok",
        Ok(response) if is_rate_limited(response) => "too_many",
        Ok(response) if response.status.is_server_error() => "error",
        Ok(_) => "refused",
        Err(_) => "unreachable",
    }
}

/// Returns whether a status refuses a request, so that the same one would be refused again.
pub(super) fn is_refusal(status: StatusCode) -> bool {
    status.is_client_error()
        && status != StatusCode::TOO_MANY_REQUESTS
        && status != StatusCode::REQUEST_TIMEOUT
}

/// Reduces an error code of a provider to the characters and length of such a code, because it is
/// logged.
pub(super) fn plain_code(code: &str) -> String {
    code.chars()
        .filter(|it| it.is_ascii_alphanumeric() || *it == '_' || *it == ' ')
        .take(MAX_CODE_CHARS)
        .collect()
}
