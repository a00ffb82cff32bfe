//! A client of 2026-07-28: every request contains its protocol version and capabilities.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use super::{Answer, Stream, Web, answer, ledger};
use crate::schema::{Ledger, Revision};

/// Where a request repeats what its headers say.
const VERSION: &str = "io.modelcontextprotocol/protocolVersion";

/// A client of 2026-07-28.
#[derive(Clone)]
pub struct Modern {
    web: Web,
    token: String,
    meta: serde_json::Map<String, Value>,
    headers: Vec<(String, String)>,
    ids: Arc<AtomicI64>,
    ledger: Arc<Ledger>,
}

impl Modern {
    pub(super) fn new(web: Web, token: String) -> Self {
        let meta = json!({
            VERSION: Revision::July2026.as_str(),
            "io.modelcontextprotocol/clientInfo": { "name": "tests", "version": "1" },
            "io.modelcontextprotocol/clientCapabilities": {
                "elicitation": { "form": {}, "url": {} },
                "sampling": {},
                "roots": {},
            },
        });
        let Value::Object(meta) = meta else { unreachable!("json! was given an object") };
        Self {
            web,
            token,
            meta,
            headers: Vec::new(),
            ids: Arc::new(AtomicI64::new(1)),
            ledger: ledger(Revision::July2026),
        }
    }

    /// The same client at another instance.
    #[must_use]
    pub fn at(&self, web: &Web) -> Self {
        Self { web: web.clone(), ..self.clone() }
    }

    /// The same client with other capabilities.
    #[must_use]
    pub fn with_capabilities(&self, capabilities: Value) -> Self {
        self.with_meta("io.modelcontextprotocol/clientCapabilities", capabilities)
    }

    /// The same client with an entry in the `_meta` of its requests; `null` removes the entry.
    #[must_use]
    pub fn with_meta(&self, key: &str, value: Value) -> Self {
        let mut changed = self.clone();
        if value.is_null() {
            changed.meta.remove(key);
        } else {
            changed.meta.insert(key.to_owned(), value);
        }
        changed
    }

    /// The same client with a header, which replaces the one that it would send by default.
    #[must_use]
    pub fn with_header(&self, name: &str, value: &str) -> Self {
        let mut changed = self.clone();
        changed.headers.push((name.to_owned(), value.to_owned()));
        changed
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

    /// `subscriptions/listen`. Returns the stream after its acknowledgment, and the filter that the server
    /// has accepted.
    pub async fn listen(&self, filter: Value) -> (Stream, Value) {
        let body = self.body("subscriptions/listen", json!({ "notifications": filter }));
        let mut stream = self.send(&body).await;
        let first = stream.expect("notifications/subscriptions/acknowledged").await;
        assert_eq!(subscription(&first), &body["id"], "it is tagged with the id of the request");
        (stream, first["params"]["notifications"].clone())
    }

    /// The same client with the tasks extension.
    #[must_use]
    pub fn with_tasks(&self) -> Self {
        self.with_capabilities(json!({
            "elicitation": {}, "extensions": { "io.modelcontextprotocol/tasks": {} },
        }))
    }

    /// Builds the body of a request with a new id.
    pub fn body(&self, method: &str, params: Value) -> Value {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let mut params = if params.is_null() { json!({}) } else { params };
        let mut meta = self.meta.clone();
        if let Some(Value::Object(own)) = params.get("_meta") {
            meta.extend(own.clone());
        }
        params["_meta"] = Value::Object(meta);
        json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
    }

    /// Sends a body unchanged, with the headers that match it.
    pub async fn send(&self, body: &Value) -> Stream {
        self.ledger.sent(body);
        Stream::open(self.request(body), Arc::clone(&self.ledger)).await
    }

    /// Sends a body that is invalid on purpose; only the response is validated.
    pub async fn send_on_purpose(&self, body: &Value) -> Answer {
        self.ledger.sent_on_purpose(body);
        let stream = Stream::open(self.request(body), Arc::clone(&self.ledger)).await;
        answer(stream, &body["id"]).await
    }

    fn request(&self, body: &Value) -> RequestBuilder {
        let text = |pointer| body.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let method = text("/method");
        let mut headers = vec![
            ("mcp-protocol-version".to_owned(), Revision::July2026.to_string()),
            ("mcp-method".to_owned(), method.to_owned()),
        ];
        match method {
            "tools/call" | "prompts/get" => {
                headers.push(("mcp-name".to_owned(), encode(text("/params/name"))));
            }
            "tasks/get" | "tasks/update" | "tasks/cancel" => {
                headers.push(("mcp-name".to_owned(), encode(text("/params/taskId"))));
            }
            "resources/read" => headers.push(("mcp-name".to_owned(), encode(text("/params/uri")))),
            _ => {}
        }
        for (name, value) in &self.headers {
            headers.retain(|(standard, _)| standard != name);
            headers.push((name.clone(), value.clone()));
        }
        headers
            .into_iter()
            .fold(self.web.post(&self.token, body.to_string()), |request, (name, value)| {
                request.header(name, value)
            })
    }
}

/// The subscription that a notification belongs to.
pub(super) fn subscription(message: &Value) -> &Value {
    message.pointer("/params/_meta/io.modelcontextprotocol~1subscriptionId").unwrap_or(&Value::Null)
}

/// Header values are visible ASCII; anything else is wrapped in base64.
fn encode(value: &str) -> String {
    let plain = value.bytes().all(|byte| (b' '..=b'~').contains(&byte))
        && value.trim() == value
        && !value.starts_with("=?base64?");
    if plain { value.to_owned() } else { format!("=?base64?{}?=", BASE64_STANDARD.encode(value)) }
}
