//! What a client is shown by a response.

use std::time::{Duration, Instant};

use serde_json::Value;
use tests::client::{Answer, Legacy, Modern, Page, Web};

use crate::REVISION;

/// The parts of a response that a client can act on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Shown {
    pub(crate) status: u16,
    /// `Retry-After`, in seconds.
    pub(crate) retry_after: Option<u64>,
    /// The code of a JSON-RPC error.
    pub(crate) code: Option<i64>,
    /// Whether the tool reports an error (`isError`).
    pub(crate) is_tool_error: bool,
    /// The text of the error or of the result.
    pub(crate) text: String,
}

impl Shown {
    pub(crate) fn of(answer: &Answer) -> Self {
        Self::new(
            answer.status.as_u16(),
            answer.headers.get("retry-after").and_then(|it| it.to_str().ok()),
            &answer.message,
        )
    }

    pub(crate) fn of_page(page: &Page) -> Self {
        let body = serde_json::from_slice(&page.body).unwrap_or_default();
        let wait = Some(page.header("retry-after")).filter(|it| !it.is_empty());
        let mut shown = Self::new(page.status.as_u16(), wait, &body);
        if shown.text.is_empty() {
            shown.text = page.text();
        }
        shown
    }

    fn new(status: u16, retry_after: Option<&str>, message: &Value) -> Self {
        let text = message.pointer("/error/message");
        let text = text.or_else(|| message.pointer("/result/content/0/text"));
        Self {
            status,
            retry_after: retry_after.map(|it| it.parse().expect("Retry-After is in seconds")),
            code: message.pointer("/error/code").and_then(Value::as_i64),
            is_tool_error: message.pointer("/result/isError") == Some(&Value::Bool(true)),
            text: text.and_then(Value::as_str).unwrap_or_default().to_owned(),
        }
    }

    /// Whether the call succeeded.
    pub(crate) fn is_success(&self) -> bool {
        self.status == 200 && self.code.is_none() && !self.is_tool_error
    }

    /// Whether the model is told, by an error of the tool, to try again. An error that the tool does not
    /// know is different: `… failed because of an error of the server. Please try again.`
    pub(crate) fn is_tool_error_to_retry(&self) -> bool {
        let is_known = self.text.contains("temporarily unavailable");
        self.status == 200 && self.is_tool_error && is_known && self.text.contains("try again")
    }

    /// Whether the client is told, by the status of the response, to try again after some seconds.
    pub(crate) fn is_told_to_wait(&self) -> bool {
        self.status == 503 && self.retry_after.is_some_and(|seconds| (1..=60).contains(&seconds))
    }
}

/// A call of a tool by a modern client.
pub(crate) async fn modern(client: &Modern, tool: &str, arguments: Value) -> Shown {
    Shown::of(&client.tool(tool, arguments).await)
}

/// A call of a tool by a legacy client.
pub(crate) async fn legacy(client: &Legacy, tool: &str, arguments: Value) -> Shown {
    Shown::of(&client.tool(tool, arguments).await)
}

/// An attempt of a legacy client to begin a session.
pub(crate) async fn initialize(web: &Web, token: &str) -> Shown {
    let body = serde_json::json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": REVISION.as_str(),
        "capabilities": { "elicitation": {} },
        "clientInfo": { "name": "crashes", "version": "1" },
    } });
    Shown::of_page(&Page::read(web.post(token, body.to_string())).await)
}

/// A ping in a session.
pub(crate) async fn ping(client: &Legacy) -> Shown {
    Shown::of_page(&client.send_on_purpose(&client.body("ping", Value::Null)).await)
}

/// Measures the duration of a future.
pub(crate) async fn timed<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let began = Instant::now();
    (work.await, began.elapsed())
}
