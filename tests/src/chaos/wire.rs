//! HTTP as a client sees it that expects everything to break.

use std::{collections::VecDeque, pin::Pin, time::Duration};

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::StatusCode;
use reqwest::{Method, RequestBuilder, header::HeaderMap};
use serde_json::Value;

use crate::client::sse;

/// How long the next bytes of an answer may take: streams say something every 15 s.
const SILENCE_LIMIT: Duration = Duration::from_secs(25);

/// Sends requests through the load balancer.
#[derive(Debug)]
pub(super) struct Http {
    client: reqwest::Client,
    url: String,
}

/// What an answer may be like before it is read.
pub(super) enum Opened {
    /// Reading can begin.
    Stream(Box<Reading>),
    /// The session, or what is asked for, does not exist.
    Gone,
    /// Nothing was done: come back later.
    Away,
    /// The request was wrong.
    Refused(StatusCode),
    /// The connection broke, or an instance did: nobody knows what was done.
    Broken,
}

/// An answer that is being read.
pub(super) struct Reading {
    pub(super) headers: HeaderMap,
    bytes: Pin<Box<dyn futures_util::Stream<Item = reqwest::Result<Bytes>> + Send>>,
    parser: sse::Parser,
    /// Events that were not looked at yet.
    ready: VecDeque<(Option<String>, Option<Value>)>,
    events: bool,
    /// The id of the last event that was looked at, to come back with.
    pub(super) last: Option<String>,
    /// Whether the server has closed it in order.
    ended: bool,
    /// Whether the server has said when to come back.
    comes_back: bool,
}

impl Http {
    pub(super) fn new(origin: &str) -> Self {
        let client = reqwest::Client::builder()
            .no_proxy()
            .pool_max_idle_per_host(0)
            .build()
            .expect("a plain client can be built");
        Self { client, url: format!("{origin}/mcp") }
    }

    pub(super) fn request(&self, method: Method, token: &str) -> RequestBuilder {
        self.client.request(method, &self.url).bearer_auth(token)
    }

    pub(super) fn post(&self, token: &str, body: &Value) -> RequestBuilder {
        self.request(Method::POST, token)
            .header("content-type", "application/json")
            .header("accept", crate::client::ACCEPT)
            .body(body.to_string())
    }

    /// Sends a request.
    pub(super) async fn open(&self, request: RequestBuilder) -> Opened {
        let Ok(Ok(answer)) = tokio::time::timeout(SILENCE_LIMIT, request.send()).await else {
            return Opened::Broken;
        };
        match answer.status() {
            StatusCode::NOT_FOUND => Opened::Gone,
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => Opened::Away,
            StatusCode::BAD_GATEWAY => Opened::Broken,
            status if !status.is_success() => Opened::Refused(status),
            _ => {
                let events = answer
                    .headers()
                    .get("content-type")
                    .is_some_and(|it| it.as_bytes().starts_with(b"text/event-stream"));
                Opened::Stream(Box::new(Reading {
                    headers: answer.headers().clone(),
                    bytes: Box::pin(answer.bytes_stream()),
                    parser: sse::Parser::default(),
                    ready: VecDeque::new(),
                    events,
                    last: None,
                    ended: false,
                    comes_back: false,
                }))
            }
        }
    }

    /// Sends a message that is answered with nothing; whether it was taken.
    pub(super) async fn tell(&self, request: RequestBuilder) -> Option<StatusCode> {
        let sent = tokio::time::timeout(SILENCE_LIMIT, request.send()).await.ok()?.ok()?;
        Some(sent.status())
    }
}

impl Reading {
    /// The next message; nothing when the answer has ended, in whatever way.
    pub(super) async fn next(&mut self) -> Option<Value> {
        loop {
            while let Some((id, message)) = self.ready.pop_front() {
                self.last = id.or(self.last.take());
                if message.is_some() {
                    return message;
                }
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    /// Whether the server has ended it for good: it closed it in order, and expects nobody back.
    pub(super) fn is_over(&self) -> bool {
        self.ended && !self.comes_back
    }

    async fn fill(&mut self) -> bool {
        if !self.events {
            let mut body = Vec::new();
            loop {
                match tokio::time::timeout(SILENCE_LIMIT, self.bytes.next()).await {
                    Ok(Some(Ok(bytes))) => body.extend_from_slice(&bytes),
                    Ok(None) => break,
                    Ok(Some(Err(_))) | Err(_) => return false,
                }
            }
            let Ok(message) = serde_json::from_slice(&body) else {
                return false;
            };
            self.ready.push_back((None, Some(message)));
            // What comes next is the end.
            self.events = true;
            return true;
        }
        let bytes = match tokio::time::timeout(SILENCE_LIMIT, self.bytes.next()).await {
            Ok(Some(Ok(bytes))) => bytes,
            Ok(None) => {
                self.ended = true;
                return false;
            }
            Ok(Some(Err(_))) | Err(_) => return false,
        };
        for event in self.parser.push(&bytes) {
            // A priming event says it too, but a lone one is a farewell.
            self.comes_back |= event.retry.is_some() && event.id.is_none();
            let data = event.data.filter(|it| !it.is_empty());
            self.ready.push_back((event.id, data.and_then(|it| serde_json::from_str(&it).ok())));
        }
        true
    }
}
