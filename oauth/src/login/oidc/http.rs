//! HTTP requests to a provider: bounded in time and size, and without redirects, so that tokens and
//! credentials are sent only to the endpoints in its discovery document.

use std::{fmt, sync::OnceLock};

use platform::{
    metrics,
    outgoing::{self, client_builder},
    proxies::Proxies,
    secret::Secret,
};
use reqwest::{
    RequestBuilder, StatusCode,
    header::{ACCEPT, CONTENT_TYPE},
};
use serde_json::{Map, Value};
use tokio::time::Instant;
use url::{Url, form_urlencoded};

use super::{discovery::ClientAuth, error::OidcError, settings::OidcSettings};
use crate::login::provider::{Deadline, LOGIN_TIMEOUT};

/// The maximum size of a response, in bytes. Those with many keys or groups have some ten kilobytes.
const MAX_RESPONSE_BYTES: usize = 256 * 1024;

/// The client for requests to one provider.
pub(super) struct Http {
    /// The name of the provider, for logs and metrics.
    provider: String,
    proxies: Proxies,
    program: &'static str,
    /// Created at the first request: reading the system's certificates takes a while.
    client: OnceLock<Result<reqwest::Client, String>>,
}

/// A response, read within its bounds.
struct Response {
    status: StatusCode,
    body: Vec<u8>,
}

impl Http {
    pub(super) fn new(provider: &str, proxies: Proxies, program: &'static str) -> Self {
        Self { provider: provider.to_owned(), proxies, program, client: OnceLock::new() }
    }

    /// Fetches a public document.
    pub(super) async fn document(
        &self,
        url: &str,
        deadline: Deadline,
    ) -> Result<Map<String, Value>, OidcError> {
        let request = self.client()?.get(url).timeout(deadline.left());
        self.send(request).await?.object("the provider refuses its public documents")
    }

    /// Queries the userinfo endpoint.
    pub(super) async fn userinfo(
        &self,
        url: &Url,
        token: &Secret,
        deadline: Deadline,
    ) -> Result<Map<String, Value>, OidcError> {
        let request = self.client()?.get(url.clone()).timeout(deadline.left());
        let response = self.send(request.bearer_auth(token.expose())).await?;
        response.object("the userinfo endpoint refuses the access token")
    }

    /// Sends a request to the token endpoint, with the credentials of this server.
    pub(super) async fn token(
        &self,
        url: &Url,
        auth: ClientAuth,
        settings: &OidcSettings,
        parameters: &[(&str, &str)],
        deadline: Deadline,
    ) -> Result<Map<String, Value>, OidcError> {
        let request = self.client()?.post(url.clone()).timeout(deadline.left());
        let id = &*settings.client_id;
        let secret = settings.client_secret.as_ref().map(Secret::expose);
        let mut parameters = parameters.to_vec();
        let request = match (auth, secret) {
            (ClientAuth::Basic, Some(secret)) => {
                request.basic_auth(encoded(id), Some(encoded(secret)))
            }
            (ClientAuth::Post, Some(secret)) => {
                parameters.extend([("client_id", id), ("client_secret", secret)]);
                request
            }
            (ClientAuth::Basic | ClientAuth::Post | ClientAuth::None, _) => {
                parameters.push(("client_id", id));
                request
            }
        };
        let body =
            form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
        let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(body);
        self.send(request).await?.token_response()
    }

    fn client(&self) -> Result<&reqwest::Client, OidcError> {
        self.client
            .get_or_init(|| {
                make_client(&self.proxies, self.program).map_err(|error| error.to_string())
            })
            .as_ref()
            .map_err(|error| {
                tracing::error!(
                    %error,
                    "Could not create the HTTP client for {}", self.provider
                );
                OidcError::Unavailable("the HTTP client could not be created")
            })
    }

    /// Sends a request, and measures its outcome and duration.
    async fn send(&self, request: RequestBuilder) -> Result<Response, OidcError> {
        let started = Instant::now();
        let response = self.read(request.header(ACCEPT, "application/json")).await;
        let outcome = match &response {
            Ok(response) if response.status.is_success() => "ok",
            Ok(response) if response.status == StatusCode::TOO_MANY_REQUESTS => "too_many",
            Ok(response) if response.status.is_server_error() => "error",
            Ok(_) => "refused",
            Err(_) => "unreachable",
        };
        let labels = [&*self.provider, outcome];
        metrics::OIDC_REQUEST_DURATION.observe(labels, started.elapsed());
        response
    }

    async fn read(&self, request: RequestBuilder) -> Result<Response, OidcError> {
        let answered = outgoing::send(request).await.map_err(|error| self.unavailable(&error))?;
        let status = answered.status();
        let body = answered.body(MAX_RESPONSE_BYTES).await;
        let body = body.map_err(|error| self.unavailable(&error))?;
        let body = body.ok_or(OidcError::Unavailable("the response is too large"))?;
        Ok(Response { status, body })
    }

    fn unavailable(&self, error: &reqwest::Error) -> OidcError {
        // The error contains the URL, which is not secret: codes and tokens are in bodies and headers.
        let dependency = &*self.provider;
        tracing::warn!(dependency, error = ?error, "{dependency} does not answer");
        OidcError::Unavailable(if error.is_timeout() {
            "no response in time"
        } else {
            "no connection"
        })
    }
}

fn make_client(proxies: &Proxies, program: &str) -> reqwest::Result<reqwest::Client> {
    client_builder(proxies)?
        .connect_timeout(LOGIN_TIMEOUT)
        .timeout(LOGIN_TIMEOUT)
        .user_agent(format!("{program}/{}", env!("CARGO_PKG_VERSION")))
        .build()
}

/// Encodes a part of the credentials (RFC 6749, section 2.3.1). The tilde stays as it is, which
/// decodes to the same: it occurs in secrets of Microsoft, and not every server decodes.
fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace("%7E", "~")
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").field("provider", &self.provider).finish_non_exhaustive()
    }
}

impl Response {
    /// Returns the object of a successful response. `refused` is the error if the provider refuses the
    /// request, which is not about the credentials of this server.
    fn object(&self, refused: &'static str) -> Result<Map<String, Value>, OidcError> {
        match self.status {
            StatusCode::OK => self.json(),
            status if is_refusal(status) => Err(OidcError::Unusable(refused)),
            _ => Err(OidcError::Unavailable(UNEXPECTED)),
        }
    }

    /// Returns the object of a successful response of the token endpoint, or its error (RFC 6749,
    /// section 5.2).
    fn token_response(&self) -> Result<Map<String, Value>, OidcError> {
        if self.status == StatusCode::OK {
            return self.json();
        }
        if !is_refusal(self.status) {
            return Err(OidcError::Unavailable(UNEXPECTED));
        }
        let object = self.json().unwrap_or_default();
        Err(match object.get("error").and_then(Value::as_str) {
            Some(code) => OidcError::refused(code),
            None => OidcError::Refused(format!("status {}", self.status.as_u16())),
        })
    }

    fn json(&self) -> Result<Map<String, Value>, OidcError> {
        serde_json::from_slice(&self.body)
            .map_err(|_not_json| OidcError::Unavailable("the response is not a JSON object"))
    }
}

const UNEXPECTED: &str = "unexpected status";

/// Returns whether a status refuses a request, so that the same one would be refused again.
fn is_refusal(status: StatusCode) -> bool {
    status.is_client_error()
        && status != StatusCode::TOO_MANY_REQUESTS
        && status != StatusCode::REQUEST_TIMEOUT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_encoded() {
        assert_eq!(encoded("abc8Q~x-y_z.0"), "abc8Q~x-y_z.0");
        assert_eq!(encoded("a:b c%é"), "a%3Ab+c%25%C3%A9");
    }

    #[test]
    fn a_refusal_is_told_from_an_outage() {
        let error = |status: u16, body: &str| {
            let status = StatusCode::from_u16(status).unwrap();
            Response { status, body: body.into() }.token_response().unwrap_err()
        };
        let refused = |code: &str| OidcError::Refused(code.to_owned());
        assert_eq!(error(400, r#"{"error": "invalid_grant"}"#), refused("invalid_grant"));
        assert_eq!(error(401, r#"{"error": "invalid_client"}"#), refused("invalid_client"));
        assert_eq!(error(401, "no"), refused("status 401"));
        assert_eq!(error(404, "no"), refused("status 404"));
        let unavailable = OidcError::Unavailable(UNEXPECTED);
        for status in [302, 429, 500, 503] {
            assert_eq!(error(status, r#"{"error": "invalid_grant"}"#), unavailable, "{status}");
        }
        let not_json = OidcError::Unavailable("the response is not a JSON object");
        assert_eq!(error(200, "[]"), not_json);
    }
}
