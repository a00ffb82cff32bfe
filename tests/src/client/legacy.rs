//! A client of the revisions with sessions: 2025-03-26, 2025-06-18 and 2025-11-25.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use super::{ACCEPT, Answer, Event, Page, Stream, Web, answer, header, ledger};
use crate::{
    in_time,
    schema::{Ledger, Revision},
};

/// The capabilities of a client that supports every server request of this revision.
pub(super) fn all_capabilities(revision: Revision) -> Value {
    match revision {
        Revision::March2025 => json!({ "sampling": {}, "roots": {} }),
        Revision::June2025 => json!({ "sampling": {}, "roots": {}, "elicitation": {} }),
        _ => json!({ "sampling": {}, "roots": {}, "elicitation": { "form": {}, "url": {} } }),
    }
}

/// Pause before a rejected client reconnects.
const COME_BACK: Duration = Duration::from_millis(50);

/// A client with a session.
#[derive(Clone)]
pub struct Legacy {
    web: Web,
    token: String,
    session: String,
    accepts: &'static str,
    hello: Value,
    ids: Arc<AtomicI64>,
    ledger: Arc<Ledger>,
}

impl Legacy {
    pub(super) async fn connect(
        web: Web,
        token: String,
        revision: Revision,
        capabilities: Value,
        name: &str,
    ) -> Self {
        let mut client = Self {
            web,
            token,
            session: String::new(),
            accepts: ACCEPT,
            hello: Value::Null,
            ids: Arc::new(AtomicI64::new(1)),
            ledger: ledger(revision),
        };
        let hello = client
            .call(
                "initialize",
                json!({
                    "protocolVersion": revision.as_str(),
                    "capabilities": capabilities,
                    "clientInfo": { "name": name, "version": "1" },
                }),
            )
            .await;
        assert_eq!(hello.result()["protocolVersion"], revision.as_str());
        client.session = header(&hello.headers, "mcp-session-id").to_owned();
        client.hello = hello.result().clone();
        assert!(
            !client.session.is_empty()
                && client.session.bytes().all(|byte| (0x21..=0x7e).contains(&byte)),
            "a session id is visible ASCII: `{}`",
            client.session
        );
        assert_eq!(client.notify("notifications/initialized", Value::Null).await, 202);
        client
    }

    /// The result of `initialize`.
    pub fn hello(&self) -> &Value {
        &self.hello
    }

    /// The access token.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The session id.
    pub fn session(&self) -> &str {
        &self.session
    }

    /// A client of the same session at another instance.
    #[must_use]
    pub fn at(&self, web: &Web) -> Self {
        Self { web: web.clone(), ..self.clone() }
    }

    /// A client of the same session with another token.
    #[must_use]
    pub fn presented_with(&self, token: impl Into<String>) -> Self {
        Self { token: token.into(), ..self.clone() }
    }

    /// A client with the same token and another session id.
    #[must_use]
    pub fn with_session(&self, session: &str) -> Self {
        Self { session: session.to_owned(), ..self.clone() }
    }

    /// The same client, not accepting event streams as responses.
    #[must_use]
    pub fn without_streams(&self) -> Self {
        Self { accepts: "application/json", ..self.clone() }
    }

    /// Sends a request and reads all messages up to its response.
    pub async fn call(&self, method: &str, params: Value) -> Answer {
        let body = self.body(method, params);
        let id = body["id"].clone();
        answer(self.send(&body).await, &id).await
    }

    /// `tools/call`.
    pub async fn tool(&self, name: &str, arguments: Value) -> Answer {
        self.call("tools/call", json!({ "name": name, "arguments": arguments })).await
    }

    /// Sends a request and returns the response for the test to read.
    pub async fn open(&self, method: &str, params: Value) -> Stream {
        self.send(&self.body(method, params)).await
    }

    /// Sends a request and reads every message up to its response, resuming the stream whenever the
    /// connection is lost.
    pub async fn persist(&self, method: &str, params: Value) -> Vec<Event> {
        let mut stream = self.open(method, params).await;
        let mut events = Vec::new();
        let mut last = None;
        loop {
            while let Some(event) = stream.next().await {
                last = event.id.clone().or(last);
                let Some(message) = &event.message else { continue };
                let is_answer = message.get("method").is_none();
                events.push(event);
                if is_answer {
                    return events;
                }
            }
            let last = last.as_deref().expect("a stream begins with something to come back to");
            stream = in_time("a stream is resumed", self.come_back(last)).await;
        }
    }

    /// Resumes a stream, retrying until a server accepts.
    async fn come_back(&self, last: &str) -> Stream {
        loop {
            let stream = self.get(Some(last)).await;
            if stream.status() == StatusCode::OK {
                return stream;
            }
            #[expect(clippy::disallowed_methods, reason = "what a client does that has to wait")]
            tokio::time::sleep(COME_BACK).await;
        }
    }

    /// Opens the standalone stream, for messages that belong to no request.
    pub async fn listen(&self) -> Stream {
        self.get(None).await
    }

    /// Resumes the stream of `event` after that event.
    pub async fn resume(&self, event: &str) -> Stream {
        self.get(Some(event)).await
    }

    /// Sends a notification and returns the HTTP status.
    pub async fn notify(&self, method: &str, params: Value) -> StatusCode {
        let mut body = json!({ "jsonrpc": "2.0", "method": method });
        if !params.is_null() {
            body["params"] = params;
        }
        self.ledger.sent(&body);
        self.post(&body).await
    }

    /// Sends the result of a server request and returns the HTTP status.
    pub async fn respond(&self, request: &Value, result: Value) -> StatusCode {
        let body = json!({ "jsonrpc": "2.0", "id": request["id"], "result": result });
        self.ledger.sent(&body);
        self.post(&body).await
    }

    /// Sends a JSON-RPC error as the response to a server request and returns the HTTP status.
    pub async fn refuse(&self, request: &Value, code: i64, message: &str) -> StatusCode {
        let error = json!({ "code": code, "message": message });
        let body = json!({ "jsonrpc": "2.0", "id": request["id"], "error": error });
        self.ledger.sent(&body);
        self.post(&body).await
    }

    /// Sends several messages as one batch.
    pub async fn batch(&self, messages: &[Value]) -> Stream {
        for message in messages {
            self.ledger.sent(message);
        }
        let body = Value::Array(messages.to_vec());
        Stream::open(self.request(&body), Arc::clone(&self.ledger)).await
    }

    /// Ends the session.
    pub async fn end(&self) -> StatusCode {
        Page::read(self.headers(self.web.request(Method::DELETE, "/mcp"))).await.status
    }

    /// Builds the body of a request with a new id.
    pub fn body(&self, method: &str, params: Value) -> Value {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let mut body = json!({ "jsonrpc": "2.0", "id": id, "method": method });
        if !params.is_null() {
            body["params"] = params;
        }
        body
    }

    /// Sends a request body unchanged.
    pub async fn send(&self, body: &Value) -> Stream {
        self.ledger.sent(body);
        Stream::open(self.request(body), Arc::clone(&self.ledger)).await
    }

    /// Sends a message that may be invalid on purpose, and reads the HTTP response.
    pub async fn send_on_purpose(&self, body: &Value) -> Page {
        self.ledger.sent_on_purpose(body);
        Page::read(self.request(body)).await
    }

    /// Opens a stream with `GET`. The test checks the status.
    pub async fn get(&self, after: Option<&str>) -> Stream {
        let mut request = self
            .headers(self.web.request(Method::GET, "/mcp"))
            .header("accept", "text/event-stream");
        if let Some(event) = after {
            request = request.header("last-event-id", event);
        }
        Stream::open(request, Arc::clone(&self.ledger)).await
    }

    async fn post(&self, body: &Value) -> StatusCode {
        let page = Page::read(self.request(body)).await;
        if page.status == 202 {
            assert!(page.body.is_empty(), "202 has no body: {}", page.text());
        }
        page.status
    }

    fn request(&self, body: &Value) -> RequestBuilder {
        self.headers(self.web.request(Method::POST, "/mcp"))
            .header("content-type", "application/json")
            .header("accept", self.accepts)
            .body(body.to_string())
    }

    fn headers(&self, mut request: RequestBuilder) -> RequestBuilder {
        request = request.bearer_auth(&self.token);
        if self.session.is_empty() {
            return request;
        }
        // The header came with 2025-06-18.
        if self.ledger.revision() > Revision::March2025 {
            request = request.header("mcp-protocol-version", self.ledger.revision().as_str());
        }
        request.header("mcp-session-id", &self.session)
    }
}
