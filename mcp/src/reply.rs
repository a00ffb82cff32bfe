//! The reply of the engine to an HTTP request, independent of a web framework.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::stream::BoxStream;
use http::StatusCode;

use crate::{
    failure::{CallFailure, LateFailure},
    rate_limit::Quota,
};

/// The reply to an HTTP request on the MCP endpoint.
#[derive(Debug)]
pub struct Reply {
    /// The HTTP status.
    pub status: StatusCode,
    /// The value of the `Mcp-Session-Id` header. Set only for a legacy `initialize`.
    pub session: Option<String>,
    /// The remaining quota of the caller, if requests are limited. With status 429 it is exhausted,
    /// and `reset` is the retry delay.
    pub quota: Option<Quota>,
    /// With status 429, the retry delay if it differs from the `reset` of `quota`.
    pub retry_after: Option<Duration>,
    /// The body, whose variant determines the content type.
    pub body: ReplyBody,
    /// Attributes of the request, for logs and metrics.
    pub about: About,
}

/// The body of a [`Reply`].
pub enum ReplyBody {
    /// No body and no content type.
    Empty,
    /// One JSON document, `application/json`.
    Json(Vec<u8>),
    /// An encoded `text/event-stream`. The HTTP layer must add `Cache-Control: no-store` and
    /// `X-Accel-Buffering: no`, and must drop the stream when the client disconnects: this cancels
    /// a modern request.
    Events(BoxStream<'static, Bytes>),
    /// The access token lacks scopes: 403 `insufficient_scope` with the challenge of RFC 6750
    /// section 3.1.
    InsufficientScope {
        /// The required scopes, separated by spaces.
        needed: String,
        /// A JSON-RPC error body.
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

/// Attributes of a request. The values of `era`, `method` and `target` are from bounded sets, so
/// they may be metric labels.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// `modern` or `legacy`. `None`: the request was rejected before its era was determined.
    pub era: Option<&'static str>,
    /// The JSON-RPC method. `None`: unknown.
    pub method: Option<&'static str>,
    /// The named tool, resource or prompt. `None`: not in the catalog, or the method names none.
    pub target: Option<String>,
    /// The failure of the request, if known when the response started.
    pub failure: Option<CallFailure>,
    /// The failure of a request whose response is a stream. Known when the stream has ended.
    pub stream_failure: LateFailure,
    /// A hash of the legacy session id, for the log.
    pub session: Option<String>,
    /// The job that the request created, for the log. Not bounded: must not be a metric label.
    pub job: Option<Arc<str>>,
}
