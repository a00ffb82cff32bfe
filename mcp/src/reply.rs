//! What the engine answers to one HTTP request, without naming a web framework.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::stream::BoxStream;
use http::StatusCode;

use crate::{
    admission::Quota,
    failure::{CallFailure, LateFailure},
};

/// The answer to one HTTP request on the MCP endpoint.
#[derive(Debug)]
pub struct Reply {
    /// The HTTP status that the Streamable HTTP transport asks for.
    pub status: StatusCode,
    /// Value of the `Mcp-Session-Id` header, set on the answer to a legacy `initialize` only.
    pub session: Option<String>,
    /// What is left of the caller's share, if one is counted. With status 429 it is used up, and its
    /// `reset` says when to come back.
    pub quota: Option<Quota>,
    /// With status 429, after how long the caller may come back, if that is not the `reset` of `quota`.
    pub retry_after: Option<Duration>,
    /// The body. Its kind decides the content type.
    pub body: ReplyBody,
    /// What happened, for logs and metrics.
    pub about: About,
}

/// The body of a [`Reply`].
pub enum ReplyBody {
    /// No body and no content type.
    Empty,
    /// One JSON document, `application/json`.
    Json(Vec<u8>),
    /// A `text/event-stream`, already encoded. The layer that sends it adds nothing but
    /// `Cache-Control: no-store` and `X-Accel-Buffering: no`, and drops it when the client goes
    /// away: for a modern request that is the cancellation.
    Events(BoxStream<'static, Bytes>),
    /// The token lacks scopes: 403 `insufficient_scope` with the challenge of RFC 6750 section 3.1.
    InsufficientScope {
        /// What the operation needs, a single scope or several separated by spaces.
        needed: String,
        /// A JSON-RPC error body for clients that show one.
        body: Vec<u8>,
    },
}

impl std::fmt::Debug for ReplyBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Empty => f.write_str("Empty"),
            Self::Json(body) => write!(f, "Json({} bytes)", body.len()),
            Self::Events(_) => f.write_str("Events"),
            Self::InsufficientScope { needed, .. } => write!(f, "InsufficientScope({needed})"),
        }
    }
}

/// What one request was about. Every value is from a closed set or was checked against the catalog,
/// so that it may label a metric.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// `modern`, `legacy`, or nothing when the request was refused before that was known.
    pub era: Option<&'static str>,
    /// The JSON-RPC method, if it is one that the engine knows.
    pub method: Option<&'static str>,
    /// The tool, resource or prompt that was named, if the catalog has it.
    pub target: Option<String>,
    /// How the request failed, if it did and that was known when the answer began.
    pub failure: Option<CallFailure>,
    /// How a request whose answer is a stream failed. Known when the stream has ended.
    pub stream_failure: LateFailure,
    /// A hash of the legacy session id: tells sessions apart in the log without giving one away.
    pub session: Option<String>,
    /// The job that the request started, for the log. Unlike the others no label for a metric.
    pub job: Option<Arc<str>>,
}
