//! Clients that speak the protocol in raw JSON over real HTTP.
//!
//! They share no type with the server, so that they test the wire format independently, and they
//! validate every message that they send and receive against the official schema ([`crate::schema`]).
//! [`Web`] is the HTTP interface of one instance; [`Modern`] is a client of 2026-07-28, which is
//! stateless; [`Legacy`] is a client with a session.

mod legacy;
mod modern;
pub mod sse;
mod stream;

pub use legacy::Legacy;
pub use modern::Modern;
use reqwest::{Method, RequestBuilder, StatusCode, header::HeaderMap};
use serde_json::Value;
pub use stream::{Event, Stream};

use crate::{
    eventually::in_time,
    schema::{Ledger, Revision},
};

/// The `Accept` header that the specification requires.
pub const ACCEPT: &str = "application/json, text/event-stream";

/// The HTTP interface of one instance.
#[derive(Clone, Debug)]
pub struct Web {
    http: reqwest::Client,
    origin: String,
}

impl Web {
    /// The instance at `origin`, such as `http://127.0.0.1:4321`.
    pub fn new(origin: impl Into<String>) -> Self {
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .expect("a plain client can be built");
        Self { http, origin: origin.into() }
    }

    /// `http://127.0.0.1:port`.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The MCP endpoint.
    pub fn mcp(&self) -> String {
        format!("{}/mcp", self.origin)
    }

    /// Builds a request without headers and body.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.origin))
    }

    /// `GET path`.
    pub async fn get(&self, path: &str) -> Page {
        Page::read(self.request(Method::GET, path)).await
    }

    /// Builds `POST /mcp` with a body, the content type, the accepted types and the token, and no other
    /// header.
    pub fn post(&self, token: &str, body: impl Into<reqwest::Body>) -> RequestBuilder {
        self.request(Method::POST, "/mcp")
            .bearer_auth(token)
            .header("content-type", "application/json")
            .header("accept", ACCEPT)
            .body(body)
    }

    /// A client of 2026-07-28.
    pub fn modern(&self, token: impl Into<String>) -> Modern {
        Modern::new(self.clone(), token.into())
    }

    /// Initializes a session of an earlier revision with the capabilities sampling, elicitation and roots.
    pub async fn legacy(&self, token: impl Into<String>, revision: Revision) -> Legacy {
        let capabilities = legacy::all_capabilities(revision);
        Legacy::connect(self.clone(), token.into(), revision, capabilities, "tests").await
    }

    /// Like [`Self::legacy`], with this client name.
    pub async fn legacy_named(
        &self,
        token: impl Into<String>,
        revision: Revision,
        name: &str,
    ) -> Legacy {
        let capabilities = legacy::all_capabilities(revision);
        Legacy::connect(self.clone(), token.into(), revision, capabilities, name).await
    }

    /// Like [`Self::legacy`], with these client capabilities.
    pub async fn legacy_with(
        &self,
        token: impl Into<String>,
        revision: Revision,
        capabilities: Value,
    ) -> Legacy {
        Legacy::connect(self.clone(), token.into(), revision, capabilities, "tests").await
    }
}

/// A complete HTTP response.
#[derive(Debug)]
pub struct Page {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

impl Page {
    /// Sends `request` and reads the whole response.
    pub async fn read(request: RequestBuilder) -> Self {
        in_time("an HTTP answer", async {
            let response = request.send().await.expect("the instance answers");
            let status = response.status();
            let headers = response.headers().clone();
            let body = response.bytes().await.expect("the answer has an end").to_vec();
            Self { status, headers, body }
        })
        .await
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("not JSON ({error}): {}", self.text()))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header as text, empty if it is missing.
    pub fn header(&self, name: &str) -> &str {
        header(&self.headers, name)
    }
}

/// The response to one JSON-RPC request.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: StatusCode,
    /// The HTTP headers.
    pub headers: HeaderMap,
    /// Messages on the stream before the response.
    pub before: Vec<Value>,
    /// The JSON-RPC response.
    pub message: Value,
}

impl Answer {
    /// The result. Panics if it is an error.
    pub fn result(&self) -> &Value {
        self.message
            .get("result")
            .unwrap_or_else(|| panic!("an error ({}): {:#}", self.status, self.message))
    }

    /// The JSON-RPC error code. Panics if it is a result.
    pub fn code(&self) -> i64 {
        self.message
            .pointer("/error/code")
            .and_then(Value::as_i64)
            .unwrap_or_else(|| panic!("no error: {:#}", self.message))
    }

    /// `structuredContent` of a tool that succeeded.
    pub fn output(&self) -> &Value {
        let result = self.result();
        assert_ne!(result.get("isError"), Some(&Value::Bool(true)), "the tool failed: {result:#}");
        result.get("structuredContent").unwrap_or_else(|| panic!("unstructured: {result:#}"))
    }

    /// The text of a tool that failed.
    pub fn tool_error(&self) -> &str {
        let result = self.result();
        assert_eq!(result.get("isError"), Some(&Value::Bool(true)), "it succeeded: {result:#}");
        text(result)
    }

    /// The text of the first content block.
    pub fn text(&self) -> &str {
        text(self.result())
    }

    /// A header as text, empty if it is missing.
    pub fn header(&self, name: &str) -> &str {
        header(&self.headers, name)
    }
}

/// The text of a progress message that informs the client that its job was started again.
pub fn restart(message: &Value) -> Option<&str> {
    let text = message["params"]["message"].as_str()?;
    text.starts_with("The worker stopped").then_some(text)
}

fn text(result: &Value) -> &str {
    result
        .pointer("/content/0/text")
        .and_then(Value::as_str)
        .unwrap_or_else(|| panic!("no text: {result:#}"))
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).map_or("", |value| value.to_str().expect("our headers are ASCII"))
}

/// Reads a stream until the response to the request `id`.
async fn answer(mut stream: Stream, id: &Value) -> Answer {
    let (status, headers) = (stream.status(), stream.headers().clone());
    let mut before = Vec::new();
    loop {
        let message = stream.message().await;
        if message.get("method").is_none() {
            assert!(
                message.get("id") == Some(id) || message.get("error").is_some(),
                "an answer to something else than {id}: {message:#}"
            );
            return Answer { status, headers, before, message };
        }
        before.push(message);
    }
}

/// The record of the messages of one client.
fn ledger(revision: Revision) -> std::sync::Arc<Ledger> {
    std::sync::Arc::new(Ledger::new(revision))
}
