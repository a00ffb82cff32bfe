//! What all our requests to other servers have in common.

use mcp::trace::TRACED;
use reqwest::{Request, RequestBuilder, Response, StatusCode, header::HeaderMap};
use tracing::{Instrument as _, Span, field::Empty, info_span};

use crate::proxies::Proxies;

/// A client that goes where it is told and nowhere else: it follows no redirect, repeats nothing, says
/// nothing of where it comes from, and knows no other proxies than those of the configuration.
pub fn careful(proxies: &Proxies) -> reqwest::Result<reqwest::ClientBuilder> {
    proxies.apply(direct())
}

/// The same without any proxy.
pub fn direct() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .no_proxy()
}

/// A request that was answered, and whose body is still to come. All of it is one span of a trace.
#[derive(Debug)]
pub struct Answered {
    response: Response,
    span: Span,
}

/// Sends a request.
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
    /// The status.
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// The headers.
    pub fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// The whole body; nothing if it has more bytes than `most`.
    pub async fn body(self, most: usize) -> reqwest::Result<Option<Vec<u8>>> {
        let Self { mut response, span } = self;
        let read = bounded(&mut response, most).instrument(span.clone()).await;
        read.inspect_err(|error| broken(&span, error))
    }
}

async fn bounded(response: &mut Response, most: usize) -> reqwest::Result<Option<Vec<u8>>> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > most {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body))
}

/// The span of a request. Of its address only the server is told: a path may name an organisation,
/// and a query anything.
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

/// Notes in the span of a question to another server how it has failed.
pub fn failed(span: &Span, kind: &str) {
    span.record("error.type", kind);
    span.record("otel.status_code", "ERROR");
}
