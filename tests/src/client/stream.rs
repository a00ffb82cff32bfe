//! An HTTP response, message by message, whether it is JSON or an event stream.

use std::{collections::VecDeque, pin::Pin, sync::Arc};

use bytes::Bytes;
use futures_util::StreamExt as _;
use reqwest::{StatusCode, header::HeaderMap};
use serde_json::Value;

use super::{header, sse};
use crate::{eventually::in_time, schema::Ledger};

/// One event of a stream with its message.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The event id.
    pub id: Option<String>,
    /// How long the client should wait before it reconnects, in milliseconds.
    pub retry: Option<u64>,
    /// The message. `None` for a priming event.
    pub message: Option<Value>,
}

/// A response that is being read. Dropping it closes the connection.
pub struct Stream {
    status: StatusCode,
    headers: HeaderMap,
    ledger: Arc<Ledger>,
    bytes: Pin<Box<dyn futures_util::Stream<Item = reqwest::Result<Bytes>> + Send>>,
    parser: sse::Parser,
    ready: VecDeque<Event>,
    is_events: bool,
}

impl Stream {
    pub(super) async fn open(request: reqwest::RequestBuilder, ledger: Arc<Ledger>) -> Self {
        let response = in_time("the head of an HTTP answer", request.send())
            .await
            .expect("the instance answers");
        let status = response.status();
        let headers = response.headers().clone();
        let is_events = header(&headers, "content-type").starts_with("text/event-stream");
        if is_events {
            assert_eq!(header(&headers, "x-accel-buffering"), "no", "a stream is not to be held");
        }
        Self {
            status,
            headers,
            ledger,
            bytes: Box::pin(response.bytes_stream()),
            parser: sse::Parser::default(),
            ready: VecDeque::new(),
            is_events,
        }
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The HTTP headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Whether the response is an event stream; otherwise it is one JSON document or empty.
    pub fn is_events(&self) -> bool {
        self.is_events
    }

    /// The next event. `None` when the server has closed the stream. Validates every message against the
    /// schema.
    pub async fn next(&mut self) -> Option<Event> {
        in_time("the next event of a stream", async {
            while self.ready.is_empty() {
                if !self.fill().await {
                    return None;
                }
            }
            self.ready.pop_front()
        })
        .await
    }

    /// The next message. Panics if the stream ends first.
    pub async fn message(&mut self) -> Value {
        loop {
            match self.next().await {
                Some(Event { message: Some(message), .. }) => return message,
                Some(_priming) => {}
                None => panic!("the answer ended ({}) before the next message", self.status),
            }
        }
    }

    /// The next message. Panics if its method is not `method`.
    pub async fn expect(&mut self, method: &str) -> Value {
        let message = self.message().await;
        assert_eq!(message.get("method").and_then(Value::as_str), Some(method), "{message:#}");
        message
    }

    /// Skips messages until one with the method `method`.
    pub async fn until(&mut self, method: &str) -> Value {
        loop {
            let message = self.message().await;
            if message.get("method").and_then(Value::as_str) == Some(method) {
                return message;
            }
        }
    }

    /// Skips events until one with a message.
    pub async fn next_message(&mut self) -> Event {
        loop {
            let event = self.next().await.expect("the stream goes on");
            if event.message.is_some() {
                return event;
            }
        }
    }

    /// All events up to the end of the stream.
    pub async fn rest(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await {
            events.push(event);
        }
        events
    }

    /// Reads more bytes. Returns `false` at the end.
    async fn fill(&mut self) -> bool {
        if self.is_events {
            let Some(bytes) = self.bytes.next().await else {
                return false;
            };
            // A stopping server may reset the connection: the stream ends there.
            let Ok(bytes) = bytes else { return false };
            for raw in self.parser.push(&bytes) {
                let message = raw
                    .data
                    .filter(|data| !data.is_empty())
                    .map(|data| serde_json::from_str(&data).expect("an event carries JSON"));
                if let Some(message) = &message {
                    self.check(message);
                }
                self.ready.push_back(Event { id: raw.id, retry: raw.retry, message });
            }
            return true;
        }
        let mut body = Vec::new();
        while let Some(bytes) = self.bytes.next().await {
            body.extend_from_slice(&bytes.expect("the body is complete"));
        }
        if body.is_empty() {
            return false;
        }
        let message: Value = serde_json::from_slice(&body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&body)));
        self.check(&message);
        self.ready.push_back(Event { id: None, retry: None, message: Some(message) });
        true
    }

    fn check(&self, message: &Value) {
        match message {
            Value::Array(batch) => batch.iter().for_each(|message| self.ledger.received(message)),
            message if message.get("jsonrpc").is_some() => self.ledger.received(message),
            // Rejected at the HTTP level: the body is not JSON-RPC.
            message => assert!(!self.status.is_success(), "not JSON-RPC: {message:#}"),
        }
    }
}
