//! Cross-origin access for web pages (the CORS part of the Fetch standard).
//!
//! No response allows credentials: callers authenticate with the `Authorization` header, never with
//! a cookie.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use poem::{Endpoint, IntoResponse, Request, Response};

/// Response headers that scripts may read, besides the CORS-safelisted ones.
const EXPOSED: &str = "Mcp-Session-Id, WWW-Authenticate, DPoP-Nonce, Retry-After, RateLimit, \
                       RateLimit-Policy, X-Request-Id";

/// Request headers that scripts may set, besides the CORS-safelisted ones.
const REQUEST_HEADERS: [&str; 10] = [
    "accept",
    "authorization",
    "content-type",
    "dpop",
    "last-event-id",
    "mcp-method",
    "mcp-name",
    "mcp-protocol-version",
    "mcp-session-id",
    "x-request-id",
];

/// Prefix of headers that carry tool arguments (revision 2026-07-28).
const PARAMETER_PREFIX: &str = "mcp-param-";

/// How long browsers may cache a preflight response, in seconds. The maximum in Chromium.
const PREFLIGHT_MAX_AGE: u32 = 7_200;

/// The response to `OPTIONS` for a path that accepts `methods`.
pub(crate) fn preflight(request: &HeaderMap, methods: &'static str) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(header::ALLOW, HeaderValue::from_static(methods));
    headers.insert(
        header::VARY,
        HeaderValue::from_static(
            "Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
        ),
    );
    if !request.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD) {
        return response;
    }
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(methods));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_MAX_AGE.into());
    let wanted = allowed_headers(request);
    if !wanted.is_empty() {
        let wanted =
            HeaderValue::try_from(wanted).expect("joined header names are a valid header value");
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted);
    }
    response
}

/// Allows the page of `origin` to read the response. The caller must have checked the origin.
pub(crate) fn allow(response: &mut Response, origin: Option<HeaderValue>) {
    let headers = response.headers_mut();
    if !headers.contains_key(header::VARY) {
        headers.insert(header::VARY, HeaderValue::from_static("Origin"));
    }
    if let Some(origin) = origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
    }
}

/// An endpoint for pages of any origin: the discovery documents, and the endpoints where a client
/// in a browser gets its tokens.
pub(crate) struct Public<E> {
    /// The accepted methods.
    pub methods: &'static str,
    pub inner: E,
}

/// The methods of a public document.
pub(crate) const PUBLIC_METHODS: &str = "GET, HEAD, OPTIONS";

impl<E: Endpoint> Endpoint for Public<E> {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let mut response = if request.method() == http::Method::OPTIONS {
            preflight(request.headers(), self.methods)
        } else {
            self.inner.call(request).await?.into_response()
        };
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
        Ok(response)
    }
}

/// The requested headers that scripts may set, in the order of the request.
fn allowed_headers(request: &HeaderMap) -> String {
    request
        .get_all(header::ACCESS_CONTROL_REQUEST_HEADERS)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse::<HeaderName>().ok())
        .filter(|name| {
            REQUEST_HEADERS.contains(&name.as_str()) || name.as_str().starts_with(PARAMETER_PREFIX)
        })
        .map(|name| name.as_str().to_owned())
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preflight_allows_only_the_headers_of_mcp() {
        let mut request = HeaderMap::new();
        request.insert(header::ACCESS_CONTROL_REQUEST_METHOD, HeaderValue::from_static("POST"));
        request.insert(
            header::ACCESS_CONTROL_REQUEST_HEADERS,
            HeaderValue::from_static(
                "Authorization,content-type, MCP-Param-Region,cookie, mcp-session-id, b@d",
            ),
        );

        let response = preflight(&request, "GET, POST");

        assert_eq!(response.status(), StatusCode::NO_CONTENT);
        assert_eq!(
            response.header("access-control-allow-headers"),
            Some("authorization, content-type, mcp-param-region, mcp-session-id")
        );
        assert_eq!(response.header("access-control-allow-methods"), Some("GET, POST"));
        assert!(response.header("access-control-allow-credentials").is_none());
    }

    #[test]
    fn options_without_a_preflight_lists_the_methods_only() {
        let response = preflight(&HeaderMap::new(), "GET, POST");
        assert_eq!(response.header("allow"), Some("GET, POST"));
        assert!(response.header("access-control-allow-methods").is_none());
    }
}
