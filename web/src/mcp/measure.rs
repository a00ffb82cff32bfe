//! Metrics of MCP requests and event streams.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use ::mcp::{About, LateFailure, ReplyBody};
use app::metrics;
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream::BoxStream};
use http::{Method, StatusCode};
use tokio::time::Instant;

use super::paths;
use crate::http::observe;

/// Measures one request to the engine.
pub(crate) struct Measurement {
    started: Instant,
    http_method: Method,
}

impl Measurement {
    /// Starts the measurement.
    pub(crate) fn start(http_method: &Method) -> Self {
        Self { started: Instant::now(), http_method: http_method.clone() }
    }

    /// Records the result. A stream is recorded when it ends, so its body is wrapped.
    pub(crate) fn finish(self, status: StatusCode, about: &About, body: ReplyBody) -> ReplyBody {
        let operation = Operation::of(about, &self.http_method, self.started);
        match body {
            ReplyBody::Events(events) => {
                let kind = match about.method {
                    _ if self.http_method == Method::GET => "get",
                    Some("subscriptions/listen") => "listen",
                    _ => "call",
                };
                let failure = about.stream_failure.clone();
                let stream = MeasuredStream::new(events, kind, about.era, operation, failure);
                ReplyBody::Events(stream.boxed())
            }
            body => {
                if let Some(operation) = operation {
                    operation.record(observe::outcome(status, about.failure));
                }
                body
            }
        }
    }
}

/// An operation that a client requested.
struct Operation {
    method: &'static str,
    tool: String,
    era: &'static str,
    started: Instant,
}

impl Operation {
    /// `None` for requests that only open or end a stream or a session.
    fn of(about: &About, http_method: &Method, started: Instant) -> Option<Self> {
        let method = about.method.filter(|name| *name != http_method.as_str())?;
        if method == "subscriptions/listen" {
            return None;
        }
        // The targets of other methods are URIs of unlimited variety, so they are not
        // used as labels.
        let tool = about.target.clone().filter(|_| method == "tools/call").unwrap_or_default();
        Some(Self { method, tool, era: about.era?, started })
    }

    fn record(&self, outcome: &'static str) {
        let values = [self.method, &self.tool, self.era, outcome];
        metrics::MCP_OPERATION_DURATION.observe(values, self.started.elapsed());
    }
}

/// An event stream that records its end.
struct MeasuredStream {
    events: BoxStream<'static, Bytes>,
    kind: &'static str,
    modern: bool,
    operation: Option<Operation>,
    failure: LateFailure,
    opened: Instant,
    ended: bool,
    _open: metrics::Held,
}

impl MeasuredStream {
    fn new(
        events: BoxStream<'static, Bytes>,
        kind: &'static str,
        era: Option<&'static str>,
        operation: Option<Operation>,
        failure: LateFailure,
    ) -> Self {
        metrics::MCP_STREAMS.increment([kind]);
        Self {
            events,
            kind,
            modern: era == Some("modern"),
            operation,
            failure,
            opened: Instant::now(),
            ended: false,
            _open: metrics::MCP_STREAMS_OPEN.hold([kind]),
        }
    }
}

impl Stream for MeasuredStream {
    type Item = Bytes;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let next = self.events.as_mut().poll_next(cx);
        self.ended |= matches!(next, Poll::Ready(None));
        next
    }
}

impl Drop for MeasuredStream {
    fn drop(&mut self) {
        metrics::MCP_STREAM_DURATION.observe([self.kind], self.opened.elapsed());
        if let Some(operation) = &self.operation {
            let outcome = match (self.ended, self.modern) {
                (true, _) => self
                    .failure
                    .get()
                    .map_or("streamed", |failure| observe::outcome(StatusCode::OK, Some(failure))),
                // The client disconnected: a modern client cancels this way, a legacy client will
                // resume.
                (false, true) => "cancelled",
                (false, false) => "disconnected",
            };
            operation.record(outcome);
            if outcome == observe::FAILED {
                metrics::HTTP_FAILURES.increment([paths::MCP, "stream"]);
            }
            if !self.ended && self.modern {
                metrics::MCP_CANCELLATIONS.increment(["modern"]);
            }
        }
    }
}
