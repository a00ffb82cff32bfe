//! HTTP requests to a provider with OpenID Connect, and how it refuses them.

use platform::{metrics, proxies::Proxies, secret::Secret};
use reqwest::{
    RequestBuilder, StatusCode,
    header::{ACCEPT, CONTENT_TYPE},
};
use serde_json::{Map, Value};
use tokio::time::Instant;
use url::{Url, form_urlencoded};

use super::{discovery::ClientAuth, error::OidcError, settings::OidcSettings};
use crate::login::{
    http::{Names, ProviderHttp, Response, is_refusal, outcome},
    provider::Deadline,
};

/// The maximum size of a response, in bytes. Those with many keys or groups have some ten kilobytes.
const MAX_RESPONSE_BYTES: usize = 256 * 1024;

/// The client for requests to one provider.
#[derive(Debug)]
pub(super) struct Http(ProviderHttp);

impl Http {
    pub(super) fn new(provider: &str, proxies: Proxies, program: &'static str) -> Self {
        let names = Names { dependency: provider.to_owned(), label: provider.to_owned() };
        Self(ProviderHttp::new(names, proxies, program))
    }

    /// Fetches a public document.
    pub(super) async fn document(
        &self,
        url: &str,
        deadline: Deadline,
    ) -> Result<Map<String, Value>, OidcError> {
        let request = self.0.client()?.get(url).timeout(deadline.left());
        object(&self.send(request).await?, "the provider refuses its public documents")
    }

    /// Queries the userinfo endpoint.
    pub(super) async fn userinfo(
        &self,
        url: &Url,
        token: &Secret,
        deadline: Deadline,
    ) -> Result<Map<String, Value>, OidcError> {
        let request = self.0.client()?.get(url.clone()).timeout(deadline.left());
        let response = self.send(request.bearer_auth(token.expose())).await?;
        object(&response, "the userinfo endpoint refuses the access token")
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
        let request = self.0.client()?.post(url.clone()).timeout(deadline.left());
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
        token_response(&self.send(request).await?)
    }

    /// Sends a request, and measures its outcome and duration.
    async fn send(&self, request: RequestBuilder) -> Result<Response, OidcError> {
        let started = Instant::now();
        let request = request.header(ACCEPT, "application/json");
        let response = self.0.send(request, MAX_RESPONSE_BYTES).await;
        let outcome =
            outcome(&response, |response| response.status == StatusCode::TOO_MANY_REQUESTS);
        let labels = [self.0.provider(), outcome];
        metrics::OIDC_REQUEST_DURATION.observe(labels, started.elapsed());
        Ok(response?)
    }
}

/// Encodes a part of the credentials (RFC 6749, section 2.3.1). The tilde stays as it is, which
/// decodes to the same: it occurs in secrets of Microsoft, and not every server decodes.
fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace("%7E", "~")
}

/// Returns the object of a successful response. `refused` is the error if the provider refuses the
/// request, which is not about the credentials of this server.
fn object(response: &Response, refused: &'static str) -> Result<Map<String, Value>, OidcError> {
    match response.status {
        StatusCode::OK => Ok(response.object()?),
        status if is_refusal(status) => Err(OidcError::Unusable(refused)),
        _ => Err(OidcError::Unavailable(UNEXPECTED)),
    }
}

/// Returns the object of a successful response of the token endpoint, or its error (RFC 6749,
/// section 5.2).
fn token_response(response: &Response) -> Result<Map<String, Value>, OidcError> {
    if response.status == StatusCode::OK {
        return Ok(response.object()?);
    }
    if !is_refusal(response.status) {
        return Err(OidcError::Unavailable(UNEXPECTED));
    }
    let object = response.object().unwrap_or_default();
    Err(match object.get("error").and_then(Value::as_str) {
        Some(code) => OidcError::refused(code),
        None => OidcError::Refused(format!("status {}", response.status.as_u16())),
    })
}

const UNEXPECTED: &str = "unexpected status";

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderMap;

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
            let headers = HeaderMap::new();
            token_response(&Response { status, headers, body: body.into() }).unwrap_err()
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
