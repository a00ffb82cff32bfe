//! The MCP endpoint: from an HTTP request to an HTTP response, with safe defaults.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body::Body;

use super::{
    bearer::{Challenge, Scheme, TokenProblem, bearer},
    body::{self, BodyError, ResponseBody},
    origin::{ForeignRequest, NotAnOrigin, OriginPolicy},
    response::{JSON, METHODS, RETRY_AFTER_SECONDS, response},
};
use crate::{caller::Caller, engine::Engine};

/// The maximum size of a request body, in bytes.
const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;

/// How long a request body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_mins(1);

/// Verifies access tokens.
#[async_trait]
pub trait TokenVerifier: Send + Sync {
    /// Verifies a token and returns its claims. Must reject tokens that were issued for another
    /// server (RFC 8707). [`Endpoint`] also rejects a token whose `expires_at` has passed.
    async fn verify(&self, token: &str) -> Result<Caller, TokenError>;
}

/// Why an access token was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The token was valid and has expired.
    #[error("the access token has expired")]
    Expired,
    /// The token is not valid for this server.
    #[error("the access token is not valid")]
    Invalid,
    /// The token cannot be verified now, for example because a database is unavailable.
    #[error("the access token cannot be verified now")]
    Unavailable,
}

/// Who may call an endpoint.
#[derive(Clone)]
pub struct Access {
    /// The URL of the endpoint, as clients use it, such as `https://example.com/mcp`. Its host and
    /// port are the only ones that are accepted in `Host`; if it is a loopback address, every name
    /// of the loopback interface is accepted with this port.
    pub public_url: String,
    /// The origins of web pages that may call the endpoint, such as `https://app.example.com`, in
    /// addition to its own. Requests without `Origin` do not come from web pages.
    pub allowed_origins: Vec<String>,
    /// The URL of the metadata document of the endpoint (RFC 9728), for the challenge of a 401
    /// response. `None`: clients must have a token already.
    pub resource_metadata: Option<String>,
    /// The scopes that the challenge of a 401 response asks for.
    pub scopes: Vec<&'static str>,
    /// Verifies access tokens.
    pub verifier: Arc<dyn TokenVerifier>,
}

impl Access {
    /// Allows requests with a token, but not from web pages of other origins.
    pub fn new(public_url: impl Into<String>, verifier: Arc<dyn TokenVerifier>) -> Self {
        Self {
            public_url: public_url.into(),
            allowed_origins: Vec::new(),
            resource_metadata: None,
            scopes: Vec::new(),
            verifier,
        }
    }
}

/// An MCP endpoint on the types of the crate `http`, for every HTTP server and framework.
///
/// Before the engine sees a request, the endpoint checks in this order:
///
/// | check | response |
/// |---|---|
/// | `Host` is the host of the public URL (DNS rebinding) | 421, or 400 if there are several |
/// | `Origin`, if present, is allowed | 403 |
/// | the method is `GET`, `POST` or `DELETE` | 405 |
/// | the request has a valid access token | 401 with a challenge, or 503 |
/// | the body has at most 4 MiB and arrives within a minute | 413, 408 |
///
/// It does not route by path, answer CORS preflight requests or limit connections; the HTTP server
/// must do this.
#[derive(Clone)]
pub struct Endpoint {
    engine: Engine,
    access: Arc<Access>,
    origin_policy: Arc<OriginPolicy>,
    max_body_bytes: usize,
}

impl Endpoint {
    /// Creates an endpoint. An error means that `public_url` or one of `allowed_origins` does not
    /// begin with the scheme and authority of an HTTP URL.
    pub fn new(engine: Engine, access: Access) -> Result<Self, NotAnOrigin> {
        let public_origin = origin_of(&access.public_url);
        let origin_policy = OriginPolicy::new(public_origin, &access.allowed_origins)?;
        Ok(Self {
            engine,
            access: Arc::new(access),
            origin_policy: Arc::new(origin_policy),
            max_body_bytes: MAX_BODY_BYTES,
        })
    }

    /// Sets the maximum size of a request body, in bytes, instead of 4 MiB.
    #[must_use]
    pub fn with_max_body_bytes(mut self, bytes: usize) -> Self {
        self.max_body_bytes = bytes;
        self
    }

    /// Handles a request. The extensions of a response of the engine have its
    /// [`About`](crate::About), for logs and metrics.
    pub async fn handle<B: Body>(&self, request: Request<B>) -> Response<ResponseBody> {
        match self.try_handle(request).await {
            Ok(response) => response,
            Err(refused) => refused.into_response(),
        }
    }

    async fn try_handle<B: Body>(
        &self,
        request: Request<B>,
    ) -> Result<Response<ResponseBody>, Refused> {
        let (mut head, body) = request.into_parts();
        // From HTTP/2 on the authority is in a pseudo-header, which servers put into the URI.
        if head.version >= Version::HTTP_2
            && !head.headers.contains_key(header::HOST)
            && let Some(authority) = head.uri.authority()
            && let Ok(host) = HeaderValue::try_from(authority.as_str())
        {
            head.headers.insert(header::HOST, host);
        }
        self.origin_policy.check(&head.uri, &head.headers, None)?;
        if ![Method::GET, Method::POST, Method::DELETE].contains(&head.method) {
            return Err(Refused::method());
        }
        let caller = self.authenticate(&head.headers).await?;
        let granted = caller.scopes.clone();
        let reply = match head.method {
            Method::POST => {
                let limit = self.max_body_bytes;
                let body = body::read(&head.headers, body, limit, BODY_TIMEOUT).await;
                let body = body.map_err(|error| Refused::body(&error, limit))?;
                self.engine.post(caller, &head.headers, body).await
            }
            Method::GET => self.engine.get(caller, &head.headers).await,
            _ => self.engine.delete(caller, &head.headers).await,
        };
        Ok(response(reply, &granted, Scheme::Bearer, || self.access.resource_metadata.clone()))
    }

    async fn authenticate(&self, headers: &http::HeaderMap) -> Result<Caller, Refused> {
        let challenge = |problem| {
            let metadata = self.access.resource_metadata.clone();
            Refused::challenge(&Challenge::new(problem, metadata, &self.access.scopes))
        };
        let token = bearer(headers).map_err(challenge)?;
        let caller = self.access.verifier.verify(token).await.map_err(|error| match error {
            TokenError::Expired => challenge(TokenProblem::Expired),
            TokenError::Invalid => challenge(TokenProblem::Invalid),
            TokenError::Unavailable => Refused::unverifiable(),
        })?;
        if caller.expires_at <= self.engine.now() {
            return Err(challenge(TokenProblem::Expired));
        }
        Ok(caller)
    }
}

/// The scheme and authority of a URL.
fn origin_of(url: &str) -> &str {
    let authority = url.find("://").map_or(0, |at| at + "://".len());
    let path = url[authority..].find(['/', '?', '#']);
    path.map_or(url, |length| &url[..authority + length])
}

/// A request that did not reach the engine.
struct Refused {
    status: StatusCode,
    /// A code for programs.
    code: &'static str,
    /// What happened and what to do, for people.
    description: String,
    header: Option<(HeaderName, HeaderValue)>,
}

impl Refused {
    fn new(status: StatusCode, code: &'static str, description: impl Into<String>) -> Self {
        Self { status, code, description: description.into(), header: None }
    }

    fn with_header(mut self, name: HeaderName, value: impl Into<HeaderValue>) -> Self {
        self.header = Some((name, value.into()));
        self
    }

    fn method() -> Self {
        let description = format!("The MCP endpoint accepts {METHODS} only.");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", description)
            .with_header(header::ALLOW, HeaderValue::from_static(METHODS))
    }

    fn challenge(challenge: &Challenge) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, challenge.code(), challenge.description())
            .with_header(header::WWW_AUTHENTICATE, challenge.header())
    }

    fn unverifiable() -> Self {
        let description = "The access token cannot be checked at the moment. Keep it and try again \
                           in a few seconds.";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable", description)
            .with_header(header::RETRY_AFTER, RETRY_AFTER_SECONDS)
    }

    fn body(error: &BodyError, limit: usize) -> Self {
        match error {
            BodyError::TooLarge => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "payload_too_large",
                format!(
                    "The request body is larger than {} KiB. Send less in one request.",
                    limit / 1024
                ),
            ),
            BodyError::TooSlow => Self::new(
                StatusCode::REQUEST_TIMEOUT,
                "request_timeout",
                format!(
                    "The request body was not complete within {} seconds. Send it again.",
                    BODY_TIMEOUT.as_secs()
                ),
            ),
            BodyError::Incomplete => Self::new(
                StatusCode::BAD_REQUEST,
                "invalid_request",
                "The request body broke off or was not valid HTTP. Send it again.",
            ),
        }
    }

    fn into_response(self) -> Response<ResponseBody> {
        let body = serde_json::json!({
            "error": self.code,
            "error_description": self.description,
        });
        let mut response = Response::new(ResponseBody::Full(Bytes::from(body.to_string())));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, JSON);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.extend(self.header);
        response
    }
}

impl From<ForeignRequest> for Refused {
    fn from(foreign: ForeignRequest) -> Self {
        match foreign {
            ForeignRequest::Host => Self::new(
                StatusCode::MISDIRECTED_REQUEST,
                "misdirected_request",
                "This server does not answer under the Host of your request. Use the address that \
                 its operator has published.",
            ),
            ForeignRequest::DuplicatedHost => Self::new(
                StatusCode::BAD_REQUEST,
                "invalid_request",
                "The request has more than one Host header. Send it with one.",
            ),
            ForeignRequest::Origin => Self::new(
                StatusCode::FORBIDDEN,
                "forbidden_origin",
                "Web pages from this Origin may not call this server.",
            ),
        }
    }
}

#[cfg(test)]
mod tests;
