//! Distributed tracing (W3C Trace Context, and the semantic conventions of OpenTelemetry).
//!
//! Spans with the target [`TRACED`] are for traces only: enable the target in a layer of
//! `tracing-opentelemetry`. If it is disabled, a span costs one atomic load. Spans with the target
//! [`FOLLOWED`] are for the log as well, which shows the fields whose names contain no dot.
//!
//! A client sends its trace context in a `traceparent`: in a header of the HTTP request, or in the
//! `_meta` of an MCP message (SEP-414). A malformed value is ignored. The value is not trusted: it
//! affects nothing but the trace.

use std::fmt;

use http::HeaderMap;
use opentelemetry::{
    Context,
    propagation::{Extractor, TextMapPropagator as _},
    trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState},
};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tracing::{Span, field::Empty, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::{json, params::Params, version::ProtocolVersion};

/// The target of spans for traces only.
pub const TRACED: &str = "mcp::traced";

/// The target of spans for traces and for the log.
pub const FOLLOWED: &str = "mcp::followed";

/// The name of the header and of the `_meta` key.
const TRACEPARENT: &str = "traceparent";

/// The length of a `traceparent` of version 00.
const LENGTH: usize = 55;

/// The maximum length of a `traceparent` of a later version.
const MAX_LENGTH: usize = 128;

/// The positions of the dashes between the parts of a `traceparent`.
const DASHES: [usize; 3] = [2, 35, 52];

/// A valid trace context: trace id, span id and flags. `tracestate` is neither read nor sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TraceParent {
    trace: TraceId,
    span: SpanId,
    flags: TraceFlags,
}

/// The error of a text that is not a `traceparent`.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("not a valid traceparent")]
pub struct Malformed;

/// The headers that [`TraceContextPropagator`] reads: a `traceparent` alone.
struct Carrier<'a>(&'a str);

impl Extractor for Carrier<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        (key == TRACEPARENT).then_some(self.0)
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT]
    }
}

impl TraceParent {
    /// Parses a `traceparent` (W3C Trace Context, section 3.2.2). Of a later version, only the
    /// fields of version 00 are read.
    pub fn parse(text: &str) -> Option<Self> {
        if !has_valid_layout(text) {
            return None;
        }
        let carrier = Carrier(text);
        let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &carrier);
        Self::new(context.span().span_context())
    }

    fn new(context: &SpanContext) -> Option<Self> {
        context.is_valid().then(|| Self {
            trace: context.trace_id(),
            span: context.span_id(),
            flags: context.trace_flags(),
        })
    }

    /// Reads the `traceparent` header of a request. `None`: absent, malformed, or sent more than
    /// once.
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => value.to_str().ok().map(str::trim).and_then(Self::parse),
            _ => None,
        }
    }

    /// Reads `_meta.traceparent` of a message.
    pub(crate) fn from_params(params: &Params<'_>) -> Option<Self> {
        Self::from_json(params.meta(TRACEPARENT)?)
    }

    /// Parses a `traceparent` that is a JSON string.
    pub(crate) fn from_json(value: &RawValue) -> Option<Self> {
        if value.get().len() > MAX_LENGTH + "\"\"".len() {
            return None;
        }
        Self::parse(&json::from_str::<String>(value.get()).ok()?)
    }

    /// The trace context of a span. `None`: the span is not traced.
    pub fn of(span: &Span) -> Option<Self> {
        if span.is_disabled() {
            return None;
        }
        Self::new(span.context().span().span_context())
    }

    /// The trace context of the current span. `None`: it is not traced.
    pub fn here() -> Option<Self> {
        Self::of(&Span::current())
    }

    /// The trace id as 32 hexadecimal digits.
    pub fn trace_id(self) -> String {
        self.trace.to_string()
    }

    fn span_context(self) -> SpanContext {
        SpanContext::new(self.trace, self.span, self.flags, true, TraceState::NONE)
    }

    /// Makes a new span a child of this context.
    fn adopt(self, span: &Span) {
        let parent = Context::new().with_remote_span_context(self.span_context());
        // Fails if the span is not traced, or was entered already, which callers must not do.
        drop(span.set_parent(parent));
    }

    /// Adds a link to this context to a span.
    fn link(self, span: &Span) {
        span.add_link(self.span_context());
    }
}

/// Whether a text has the lengths and digits that the specification requires of each part, which
/// [`TraceContextPropagator`] does not check: it also accepts shorter parts, signs, uppercase
/// digits in the version, a final dash, and any length.
fn has_valid_layout(text: &str) -> bool {
    let Some((known, rest)) = text.as_bytes().split_at_checked(LENGTH) else {
        return false;
    };
    let has_valid_end = match known {
        [b'0', b'0', ..] => rest.is_empty(),
        _ => rest.is_empty() || rest.starts_with(b"-"),
    };
    let is_valid = |(position, byte): (usize, &u8)| match byte {
        b'-' => DASHES.contains(&position),
        b'0'..=b'9' | b'a'..=b'f' => !DASHES.contains(&position),
        _ => false,
    };
    text.len() <= MAX_LENGTH && has_valid_end && known.iter().enumerate().all(is_valid)
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", self.trace, self.span, self.flags)
    }
}

impl From<TraceParent> for String {
    fn from(parent: TraceParent) -> Self {
        parent.to_string()
    }
}

impl TryFrom<String> for TraceParent {
    type Error = Malformed;

    fn try_from(text: String) -> Result<Self, Malformed> {
        Self::parse(&text).ok_or(Malformed)
    }
}

/// Creates the span of a received HTTP request. The caller records `http.route`,
/// `http.response.status_code`, and, after a server error, `otel.status_code`.
pub fn request(id: &str, method: &str, headers: &HeaderMap) -> Span {
    let span = info_span!(
        target: FOLLOWED,
        "request",
        request_id = id,
        trace_id = Empty,
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = method,
        http.route = Empty,
        http.response.status_code = Empty,
    );
    let parent = TraceParent::from_headers(headers);
    if let Some(parent) = parent {
        parent.adopt(&span);
    }
    if let Some(context) = TraceParent::of(&span).or(parent) {
        span.record("trace_id", context.trace_id());
    }
    span
}

/// Creates the span of an MCP operation. Its parent is the context in the message, with a link to
/// the span of the HTTP request; without a context in the message it is the span of the HTTP
/// request. `parent` reads the context in the message; called only if the span is traced.
pub(crate) fn operation(
    method: &'static str,
    target: Option<&str>,
    version: ProtocolVersion,
    parent: impl FnOnce() -> Option<TraceParent>,
) -> Span {
    let tool = target.filter(|_| method == "tools/call");
    let span = info_span!(
        target: TRACED,
        "operation",
        otel.kind = "server",
        otel.status_code = Empty,
        mcp.method.name = method,
        mcp.protocol.version = version.as_str(),
        gen_ai.operation.name = tool.map(|_| "execute_tool"),
        gen_ai.tool.name = tool,
        gen_ai.prompt.name = target.filter(|_| method == "prompts/get"),
        error.r#type = Empty,
        network.transport = "tcp",
    );
    if span.is_disabled() {
        return span;
    }
    if let Some(parent) = parent() {
        let request = TraceParent::here();
        parent.adopt(&span);
        if let Some(request) = request {
            request.link(&span);
        }
    }
    span
}

/// Records a failure in the current span.
pub(crate) fn failed(kind: &str) {
    let span = Span::current();
    span.record("error.type", kind);
    span.record("otel.status_code", "ERROR");
}

/// Creates the span of an attempt of a job. It starts a new trace, since a job may run much later,
/// and links to the call that created the job (`started_in`). `request`: the id of that call's HTTP
/// request, for the log.
pub(crate) fn attempt(
    job: &str,
    number: u32,
    tool: &str,
    request: Option<&str>,
    started_in: Option<TraceParent>,
) -> Span {
    let span = info_span!(
        target: FOLLOWED,
        "job",
        job,
        tool,
        attempt = number,
        request_id = request,
        trace_id = Empty,
        otel.kind = "consumer",
        otel.status_code = Empty,
        gen_ai.operation.name = "execute_tool",
        gen_ai.tool.name = tool,
        error.r#type = Empty,
    );
    if let Some(context) = started_in {
        context.link(&span);
    }
    if let Some(context) = TraceParent::of(&span) {
        span.record("trace_id", context.trace_id());
    }
    span
}

/// Creates the span of Redis commands.
pub(crate) fn redis(operation: &'static str) -> Span {
    info_span!(
        target: TRACED,
        "redis",
        otel.kind = "client",
        otel.status_code = Empty,
        db.system.name = "redis",
        db.operation.name = operation,
        error.r#type = Empty,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn only_a_traceparent_of_w3c_is_accepted() {
        let parsed = TraceParent::parse(GOOD).unwrap();
        assert_eq!(parsed.to_string(), GOOD);
        assert_eq!(parsed.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        let later = GOOD.replacen("00", "01", 1);
        assert_eq!(TraceParent::parse(&later), Some(parsed));
        assert_eq!(TraceParent::parse(&format!("{later}-more")), Some(parsed));
        for bad in [
            "",
            "00",
            &GOOD.to_uppercase(),
            &GOOD.replacen("00", "ff", 1),
            &GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &GOOD.replace("00f067aa0ba902b7", &"0".repeat(16)),
            &GOOD.replace('-', "_"),
            &format!("{GOOD}-more"),
            &format!("{later}more"),
            &format!("{later}-{}", "a".repeat(MAX_LENGTH)),
            &GOOD.replace("01", "0g"),
            &GOOD.replace("4bf9", "+bf9"),
            "00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-\u{e9}",
        ] {
            assert_eq!(TraceParent::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn the_meta_of_a_message_has_its_trace_context() {
        let of = |params: &str| {
            let params = RawValue::from_string(params.to_owned()).unwrap();
            TraceParent::from_params(&Params::new(Some(&params))).map(|it| it.to_string())
        };
        let named = format!(r#"{{"name":"x","_meta":{{"traceparent":"{GOOD}"}}}}"#);
        assert_eq!(of(&named).as_deref(), Some(GOOD));
        for absent in [
            "{}",
            "[]",
            r#"{"_meta":{}}"#,
            r#"{"_meta":{"traceparent":7}}"#,
            r#"{"_meta":{"traceparent":null}}"#,
            r#"{"_meta":{"traceparent":"00"}}"#,
        ] {
            assert_eq!(of(absent), None, "{absent}");
        }
        let long = format!(r#"{{"_meta":{{"traceparent":"{}"}}}}"#, "a".repeat(1_000_000));
        assert_eq!(of(&long), None);
    }

    #[test]
    fn a_stored_context_is_restored() {
        let context = TraceParent::parse(GOOD).unwrap();
        let kept = serde_json::to_string(&context).unwrap();
        assert_eq!(kept, format!("\"{GOOD}\""));
        assert_eq!(serde_json::from_str::<TraceParent>(&kept).unwrap(), context);
        assert!(serde_json::from_str::<TraceParent>("\"00\"").is_err());
    }

    #[test]
    fn spans_are_disabled_without_a_subscriber() {
        let span = redis("PIPELINE");
        assert!(span.is_disabled());
        assert_eq!(span.in_scope(TraceParent::here), None);
        let span = request("id", "GET", &HeaderMap::new());
        assert_eq!(span.in_scope(TraceParent::here), None);
    }
}
