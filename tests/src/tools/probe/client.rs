//! A client with a session (2025-11-25) that survives every answer: what a server does wrong is an outcome,
//! not a panic.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::atomic::{AtomicI64, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use futures_util::StreamExt as _;
use reqwest::{RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use tests::client::{ACCEPT, sse};
use tokio::time::timeout;

use super::Tool;

/// The protocol revision of the sessions.
const REVISION: &str = "2025-11-25";

/// The timeout of everything that a server should answer at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// An instance.
#[derive(Clone)]
pub(super) struct Endpoint {
    http: reqwest::Client,
    url: reqwest::Url,
    token: Option<String>,
}

impl Endpoint {
    pub(super) fn new(url: &str, token: Option<String>) -> anyhow::Result<Self> {
        let url = url.parse().with_context(|| format!("`{url}` is not a URL"))?;
        let http = reqwest::Client::builder().no_proxy().build()?;
        Ok(Self { http, url, token })
    }

    fn authorized(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    fn post(&self, body: &Value) -> RequestBuilder {
        let request = self.http.post(self.url.clone()).header("accept", ACCEPT).json(body);
        self.authorized(request)
    }

    /// Calls `server/discover` of 2026-07-28 and returns the HTTP status.
    pub(super) async fn discover(&self) -> anyhow::Result<StatusCode> {
        let body = json!({
            "jsonrpc": "2.0", "id": 1, "method": "server/discover",
            "params": { "_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {},
            } },
        });
        let request = self.post(&body).header("mcp-protocol-version", "2026-07-28");
        let response = send(request.header("mcp-method", "server/discover")).await?;
        Ok(response.status())
    }

    /// Waits until the instance answers at all.
    pub(super) async fn ready(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(30);
        while Instant::now() < deadline {
            let answering = self.http.get(self.url.clone()).send();
            if matches!(timeout(Duration::from_secs(1), answering).await, Ok(Ok(_))) {
                return Ok(());
            }
            pause(Duration::from_millis(100)).await;
        }
        anyhow::bail!("{} does not answer within 30 s", self.url)
    }

    /// Initializes a session.
    pub(super) async fn session(&self) -> anyhow::Result<Session> {
        let body = json!({
            "jsonrpc": "2.0", "id": 0, "method": "initialize",
            "params": {
                "protocolVersion": REVISION,
                "capabilities": { "elicitation": { "form": {} }, "sampling": {}, "roots": {} },
                "clientInfo": { "name": "probe", "version": "1" },
            },
        });
        let response = send(self.post(&body)).await?;
        let status = response.status();
        ensure!(status.is_success(), "`initialize` is answered with {status}");
        let id = response.headers().get("mcp-session-id").map(|id| id.to_str().map(str::to_owned));
        let id = id.context("the server has no sessions")??;
        let session = Session { id, next: AtomicI64::new(1) };
        let answered = Events::new(response).answer(0, PATIENCE).await;
        ensure!(answered.is_some(), "`initialize` has no result");
        let initialized = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        session.post(self, &initialized).await?;
        Ok(session)
    }
}

/// A session, usable at every instance.
pub(super) struct Session {
    id: String,
    next: AtomicI64,
}

impl Session {
    fn headers(&self, request: RequestBuilder) -> RequestBuilder {
        request.header("mcp-session-id", &self.id).header("mcp-protocol-version", REVISION)
    }

    /// Sends a message and returns the HTTP status.
    pub(super) async fn post(&self, at: &Endpoint, body: &Value) -> anyhow::Result<StatusCode> {
        Ok(send(self.headers(at.post(body))).await?.status())
    }

    /// Sends a request. Returns its id and the response.
    pub(super) async fn request(
        &self,
        at: &Endpoint,
        method: &str,
        params: Value,
    ) -> anyhow::Result<(i64, Events)> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let body = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        let response = send(self.headers(at.post(&body))).await?;
        ensure!(
            response.status().is_success(),
            "`{method}` is answered with {}",
            response.status()
        );
        Ok((id, Events::new(response)))
    }

    /// Sends a request and returns its response.
    pub(super) async fn call(
        &self,
        at: &Endpoint,
        method: &str,
        params: Value,
    ) -> anyhow::Result<Value> {
        let (id, mut events) = self.request(at, method, params).await?;
        let answer = events.answer(id, PATIENCE).await;
        answer.with_context(|| format!("`{method}` has no answer"))
    }

    /// Calls a tool with a progress token.
    pub(super) async fn tool(&self, at: &Endpoint, tool: &Tool) -> anyhow::Result<(i64, Events)> {
        let params = json!({
            "name": tool.name, "arguments": tool.arguments,
            "_meta": { "progressToken": format!("probe-{}", self.next.load(Ordering::Relaxed)) },
        });
        self.request(at, "tools/call", params).await
    }

    /// Opens the stream of the session, or resumes a stream after an event.
    pub(super) async fn get(&self, at: &Endpoint, after: Option<&str>) -> anyhow::Result<Events> {
        let request = at.authorized(at.http.get(at.url.clone()));
        let mut request = self.headers(request).header("accept", "text/event-stream");
        if let Some(event) = after {
            request = request.header("last-event-id", event);
        }
        let response = send(request).await?;
        ensure!(response.status().is_success(), "`GET` is answered with {}", response.status());
        Ok(Events::new(response))
    }
}

/// A message with the id of its event.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) id: Option<String>,
    pub(super) message: Option<Value>,
}

impl Event {
    /// Whether it is a message with this method.
    pub(super) fn is(&self, method: &str) -> bool {
        self.message.as_ref().is_some_and(|it| it["method"] == method)
    }

    /// Whether it is the response to a request.
    pub(super) fn answers(&self, id: i64) -> bool {
        self.message.as_ref().is_some_and(|it| it["id"] == id && it.get("method").is_none())
    }
}

/// The messages of a response, whether it is JSON or an event stream.
pub(super) struct Events {
    is_stream: bool,
    bytes: Pin<Box<dyn futures_util::Stream<Item = reqwest::Result<Bytes>> + Send>>,
    parser: sse::Parser,
    json: Vec<u8>,
    ready: VecDeque<Event>,
    /// The id of the last event.
    pub(super) last: Option<String>,
}

impl Events {
    fn new(response: Response) -> Self {
        let kind = response.headers().get("content-type").and_then(|it| it.to_str().ok());
        Self {
            is_stream: kind.is_some_and(|it| it.starts_with("text/event-stream")),
            bytes: Box::pin(response.bytes_stream()),
            parser: sse::Parser::default(),
            json: Vec::new(),
            ready: VecDeque::new(),
            last: None,
        }
    }

    /// The next event. `None`: the response has ended or is broken.
    pub(super) async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                self.last = event.id.clone().or_else(|| self.last.take());
                return Some(event);
            }
            match self.bytes.next().await {
                Some(Ok(bytes)) if self.is_stream => {
                    let parsed = self.parser.push(&bytes).into_iter().map(|event| Event {
                        id: event.id,
                        message: event.data.and_then(|data| serde_json::from_str(&data).ok()),
                    });
                    self.ready.extend(parsed);
                }
                Some(Ok(bytes)) => self.json.extend_from_slice(&bytes),
                Some(Err(_broken)) => return None,
                None => {
                    let message = serde_json::from_slice(&std::mem::take(&mut self.json)).ok()?;
                    return Some(Event { id: None, message: Some(message) });
                }
            }
        }
    }

    /// The first event that fits. `None`: the response has ended, or it did not come in time.
    pub(super) async fn find(
        &mut self,
        patience: Duration,
        mut fits: impl FnMut(&Event) -> bool,
    ) -> Option<Event> {
        let finding = async {
            loop {
                let event = self.next().await?;
                if fits(&event) {
                    return Some(event);
                }
            }
        };
        timeout(patience, finding).await.ok().flatten()
    }

    /// The response to a request. `None`: none came in time.
    pub(super) async fn answer(&mut self, id: i64, patience: Duration) -> Option<Value> {
        self.find(patience, |event| event.answers(id)).await?.message
    }
}

async fn send(request: RequestBuilder) -> anyhow::Result<Response> {
    let sending = timeout(PATIENCE, request.send());
    Ok(sending.await.context("no answer within 10 s")??)
}

/// Waits, as a client does.
pub(super) async fn pause(time: Duration) {
    #[expect(clippy::disallowed_methods, reason = "the probe observes a server over time")]
    tokio::time::sleep(time).await;
}
