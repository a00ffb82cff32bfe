//! Common behavior of all HTTP requests to other servers.

use mcp::trace::TRACED;
use reqwest::{Request, RequestBuilder, Response, StatusCode, header::HeaderMap};
use tracing::{Instrument as _, Span, field::Empty, info_span};

use crate::proxies::Proxies;

/// Creates a client builder without redirects, retries and `Referer`, and with no other proxies
/// than the configured ones.
pub fn client_builder(proxies: &Proxies) -> reqwest::Result<reqwest::ClientBuilder> {
    proxies.apply(direct_client_builder())
}

/// Creates a client builder like [`client_builder`], but without any proxy.
pub fn direct_client_builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .no_proxy()
}

/// A response whose body has not been read yet. The request and the reading of the body are one
/// span of a trace.
#[derive(Debug)]
pub struct Answered {
    response: Response,
    span: Span,
}

/// Sends a request and waits for the head of the response.
pub async fn send(request: RequestBuilder) -> reqwest::Result<Answered> {
    let (http, request) = request.build_split();
    let request = request?;
    let span = traced(&request);
    let sent = http.execute(request).instrument(span.clone()).await;
    let response = sent.inspect_err(|error| broken(&span, error))?;
    let status = response.status();
    span.record("http.response.status_code", status.as_u16());
    if status.is_client_error() || status.is_server_error() {
        failed(&span, status.as_str());
    }
    Ok(Answered { response, span })
}

impl Answered {
    /// Returns the status of the response.
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// Returns the headers of the response.
    pub fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// Reads the whole body. `Ok(None)`: it is larger than `max_bytes` bytes.
    pub async fn body(self, max_bytes: usize) -> reqwest::Result<Option<Vec<u8>>> {
        let Self { mut response, span } = self;
        let read = bounded(&mut response, max_bytes).instrument(span.clone()).await;
        read.inspect_err(|error| broken(&span, error))
    }
}

async fn bounded(response: &mut Response, max_bytes: usize) -> reqwest::Result<Option<Vec<u8>>> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > max_bytes {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body))
}

/// Creates the span of a request. Of the URL it contains only the host and port: a path may name an
/// organization, and a query may contain anything.
fn traced(request: &Request) -> Span {
    info_span!(
        target: TRACED,
        "http",
        otel.kind = "client",
        otel.status_code = Empty,
        http.request.method = request.method().as_str(),
        http.response.status_code = Empty,
        server.address = request.url().host_str(),
        server.port = request.url().port_or_known_default(),
        error.r#type = Empty,
    )
}

fn broken(span: &Span, error: &reqwest::Error) {
    failed(span, if error.is_timeout() { "timeout" } else { "unreachable" });
}

/// Records in the span of a request that it failed, and how.
pub fn failed(span: &Span, kind: &str) {
    span.record("error.type", kind);
    span.record("otel.status_code", "ERROR");
}
