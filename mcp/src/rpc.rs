//! The JSON-RPC 2.0 envelope.
//!
//! Only the envelope is parsed here, and the members of `params` are found ([`Params`]). Their
//! values, `result` and `error` stay raw JSON ([`RawValue`]) until the method that knows their type
//! converts them: an untagged enum over all requests is slow and reports invalid parameters as
//! "method not found".

use std::{borrow::Cow, fmt, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::{Value, value::RawValue};

use crate::{
    json::{self, JsonError},
    params::Params,
};

/// The maximum length of a request id or progress token, in bytes. Both are stored, and the id is
/// part of many keys and of every response. Clients send numbers or UUIDs.
pub(crate) const MAX_ID_BYTES: usize = 256;

/// A JSON-RPC request id: a string or an integer, never null (MCP basic, "Requests").
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RequestId {
    /// An integer id.
    Number(i64),
    /// A string id.
    String(String),
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::String(text) => text.fmt(f),
        }
    }
}

impl Serialize for RequestId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Number(number) => serializer.serialize_i64(*number),
            Self::String(text) => serializer.serialize_str(text),
        }
    }
}

impl<'de> Deserialize<'de> for RequestId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = RequestId;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an integer")
            }

            fn visit_i64<E>(self, number: i64) -> Result<RequestId, E> {
                Ok(RequestId::Number(number))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<RequestId, E> {
                i64::try_from(number).map(RequestId::Number).map_err(|_too_large| {
                    E::invalid_value(de::Unexpected::Unsigned(number), &"a 64-bit signed integer")
                })
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<RequestId, E> {
                // Some languages write every integer as `1.0`.
                let whole = json::whole_f64(number);
                whole.map(RequestId::Number).ok_or_else(|| {
                    E::invalid_value(de::Unexpected::Float(number), &"a string or an integer")
                })
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<RequestId, E> {
                if text.len() > MAX_ID_BYTES {
                    return Err(E::custom(format_args!(
                        "a string of {} bytes; the maximum is {MAX_ID_BYTES}",
                        text.len()
                    )));
                }
                Ok(RequestId::String(text.to_owned()))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// One JSON-RPC message from a client. Borrows from the body.
#[derive(Debug)]
pub(crate) enum Message<'a> {
    Request(Request<'a>),
    Notification {
        method: Cow<'a, str>,
        params: Params<'a>,
    },
    /// A response to a request of the server. `id` is absent if the client could not read the
    /// request.
    Response {
        id: Option<RequestId>,
        outcome: Result<&'a RawValue, &'a RawValue>,
    },
}

/// A JSON-RPC request, which has exactly one response.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) id: RequestId,
    pub(crate) method: Cow<'a, str>,
    pub(crate) params: Params<'a>,
}

/// The body of an HTTP request.
#[derive(Debug)]
pub(crate) enum Body<'a> {
    Single(Message<'a>),
    /// A batch (2025-03-26), whose elements are parsed independently.
    Batch(Vec<Result<Message<'a>, Malformed>>),
}

/// A message that is not JSON-RPC 2.0, with its id if that could be read.
#[derive(Debug)]
pub(crate) struct Malformed {
    pub(crate) id: Option<RequestId>,
    pub(crate) error: RpcError,
}

impl From<RpcError> for Malformed {
    fn from(error: RpcError) -> Self {
        Self { id: None, error }
    }
}

/// The maximum number of messages in a batch (2025-03-26). The specification sets no limit; without
/// one, a single body could start tens of thousands of calls.
pub(crate) const MAX_BATCH: usize = 50;

/// Parses the envelopes of a body.
pub(crate) fn parse_body(body: &[u8]) -> Result<Body<'_>, Malformed> {
    let is_batch = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    if !is_batch {
        return parse_message(body).map(Body::Single);
    }
    let elements: Vec<&RawValue> =
        json::from_slice(body).map_err(|error| RpcError::parse(&error))?;
    if elements.is_empty() {
        return Err(RpcError::invalid_request("a batch must not be empty").into());
    }
    if elements.len() > MAX_BATCH {
        return Err(RpcError::invalid_request(format!(
            "a batch may have at most {MAX_BATCH} messages; this one has {}",
            elements.len()
        ))
        .into());
    }
    Ok(Body::Batch(
        elements.into_iter().map(|element| parse_message(element.get().as_bytes())).collect(),
    ))
}

#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    jsonrpc: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<Text<'a>>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    error: Option<&'a RawValue>,
}

/// Deserializes `null` as `Some`, to distinguish it from an absent member.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

fn parse_message(text: &[u8]) -> Result<Message<'_>, Malformed> {
    let envelope: Envelope<'_> = json::from_slice(text).map_err(|error| {
        if error.is_data() {
            RpcError::invalid_request(format!("not a JSON-RPC 2.0 message: {error}"))
        } else {
            RpcError::parse(&error)
        }
    })?;
    // JSON-RPC allows `"id": null` only in responses to unreadable requests.
    let id = match envelope.id.map(RawValue::get) {
        None | Some("null") => None,
        Some(raw) => Some(json::from_str::<RequestId>(raw).map_err(|error| {
            RpcError::invalid_request(format!("the request id is not usable: {error}"))
        })?),
    };
    let malformed = |message: &'static str| Malformed {
        id: id.clone(),
        error: RpcError::invalid_request(message),
    };
    if envelope.jsonrpc.as_ref().is_none_or(|version| version.0 != "2.0") {
        return Err(malformed("`jsonrpc` must be \"2.0\""));
    }
    match (envelope.method, envelope.result, envelope.error) {
        (Some(Text(method)), None, None) => {
            if envelope.params.is_some_and(|params| !params.get().starts_with('{')) {
                return Err(Malformed {
                    id,
                    error: RpcError::invalid_params("`params` must be an object"),
                });
            }
            let params = || Params::new(envelope.params);
            match (id, envelope.id) {
                (Some(id), _) => Ok(Message::Request(Request { id, method, params: params() })),
                (None, None) => Ok(Message::Notification { method, params: params() }),
                (None, Some(_)) => Err(RpcError::invalid_request(
                    "a request id must be a string or an integer, never null",
                )
                .into()),
            }
        }
        (None, Some(result), None) => Ok(Message::Response { id, outcome: Ok(result) }),
        (None, None, Some(error)) => Ok(Message::Response { id, outcome: Err(error) }),
        _ => Err(malformed("a message has exactly one of `method`, `result` and `error`")),
    }
}

/// A JSON-RPC error object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RpcError {
    /// One of [`codes`], or an application-defined code outside the reserved ranges.
    pub code: i64,
    /// A sentence for the developer of the client.
    pub message: Cow<'static, str>,
    /// Machine-readable details.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
}

/// Error codes of JSON-RPC 2.0 and of MCP 2026-07-28 (basic, "Error Codes").
pub mod codes {
    /// The body is not JSON.
    pub const PARSE_ERROR: i64 = -32700;
    /// The body is JSON, but not a valid message.
    pub const INVALID_REQUEST: i64 = -32600;
    /// The method does not exist in the protocol revision of the request.
    pub const METHOD_NOT_FOUND: i64 = -32601;
    /// The parameters are invalid. Also for an unknown tool, prompt, cursor or (modern) resource.
    pub const INVALID_PARAMS: i64 = -32602;
    /// The server failed.
    pub const INTERNAL_ERROR: i64 = -32603;
    /// The resource does not exist. Legacy revisions only: must not be sent to a modern client.
    pub const RESOURCE_NOT_FOUND: i64 = -32002;
    /// A header differs from the body.
    pub const HEADER_MISMATCH: i64 = -32020;
    /// The request requires a capability that the client did not declare with it.
    pub const MISSING_CLIENT_CAPABILITY: i64 = -32021;
    /// A quota of the caller is exhausted. An application-defined code outside the ranges that
    /// JSON-RPC and MCP reserve; equal to the HTTP status.
    pub const TOO_MANY_REQUESTS: i64 = 429;
    /// The named revision is not supported.
    pub const UNSUPPORTED_PROTOCOL_VERSION: i64 = -32022;
}

impl RpcError {
    /// Creates an error without data.
    pub fn new(code: i64, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), data: None }
    }

    /// Adds machine-readable details.
    #[must_use]
    pub fn with_data(mut self, data: Value) -> Self {
        self.data = Some(data);
        self
    }

    pub(crate) fn parse(error: &JsonError) -> Self {
        let place = match error.position() {
            Some((line, column)) => format!(" (line {line}, column {column})"),
            None => String::new(),
        };
        Self::new(codes::PARSE_ERROR, format!("the body is not JSON: {error}{place}"))
    }

    pub(crate) fn invalid_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(codes::INVALID_REQUEST, message)
    }

    /// Creates the error of an access token that lacks a scope.
    pub(crate) fn missing_scope(scope: &str) -> Self {
        Self::invalid_request(format!("the access token lacks the scope `{scope}`"))
    }

    /// Creates an error of invalid parameters. The message says which one and what is expected.
    pub fn invalid_params(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(codes::INVALID_PARAMS, message)
    }

    pub(crate) fn method_not_found(method: &str) -> Self {
        Self::new(codes::METHOD_NOT_FOUND, format!("there is no method `{}`", shorten(method)))
    }

    /// Creates an internal error. Its message has no details, since it is sent to the client.
    pub fn internal() -> Self {
        Self::new(codes::INTERNAL_ERROR, "an internal error of the server; please try again")
    }

    /// Creates a rate limit error with a retry delay.
    pub fn too_many_requests(message: impl Into<Cow<'static, str>>, retry_after: Duration) -> Self {
        let seconds = retry_after.as_secs().max(1);
        Self::new(codes::TOO_MANY_REQUESTS, message)
            .with_data(serde_json::json!({ RETRY_AFTER: seconds }))
    }

    /// The retry delay of a rate limit error.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        if self.code != codes::TOO_MANY_REQUESTS {
            return None;
        }
        let seconds = self.data.as_ref()?.get(RETRY_AFTER)?.as_u64()?;
        Some(Duration::from_secs(seconds))
    }

    /// Creates the error of an unavailable store.
    pub(crate) fn unavailable() -> Self {
        Self::new(
            codes::INTERNAL_ERROR,
            "a database of this server is unavailable right now; please try again in a few seconds",
        )
    }

    pub(crate) fn header_mismatch(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(codes::HEADER_MISMATCH, message)
    }
}

/// The member of `data` with the retry delay in seconds.
const RETRY_AFTER: &str = "retryAfterSeconds";

/// The maximum length of client text in an error message, in characters.
const ECHO_LIMIT: usize = 100;

/// Truncates client text for an error message.
pub(crate) fn shorten(text: &str) -> Cow<'_, str> {
    shorten_to(text, ECHO_LIMIT)
}

/// Truncates a text to `limit` characters.
pub(crate) fn shorten_to(text: &str, limit: usize) -> Cow<'_, str> {
    match text.char_indices().nth(limit) {
        None => Cow::Borrowed(text),
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
    }
}

#[derive(Serialize)]
struct ResultResponse<'a, R> {
    jsonrpc: &'static str,
    id: &'a RequestId,
    result: &'a R,
}

#[derive(Serialize)]
struct ErrorResponse<'a> {
    jsonrpc: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a RequestId>,
    error: &'a RpcError,
}

#[derive(Serialize)]
struct Outgoing<'a, P> {
    jsonrpc: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    method: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    params: Option<P>,
}

/// Encodes a message as JSON.
pub(crate) fn encode(value: &impl Serialize) -> Vec<u8> {
    // Message types have string keys and no failing `Serialize` implementation.
    serde_json::to_vec(value).expect("message types serialize without errors")
}

/// Encodes the response with a result.
pub(crate) fn encode_result(id: &RequestId, result: &impl Serialize) -> Vec<u8> {
    encode(&ResultResponse { jsonrpc: "2.0", id, result })
}

/// Encodes the response with an error; without an id if the request could not be read.
pub(crate) fn encode_error(id: Option<&RequestId>, error: &RpcError) -> Vec<u8> {
    encode(&ErrorResponse { jsonrpc: "2.0", id, error })
}

/// Encodes a notification to the client.
pub(crate) fn encode_notification(method: &str, params: Option<&impl Serialize>) -> String {
    into_text(encode(&Outgoing { jsonrpc: "2.0", id: None, method, params }))
}

/// Encodes a request to a legacy client.
pub(crate) fn encode_request(id: &str, method: &str, params: Option<&impl Serialize>) -> String {
    into_text(encode(&Outgoing { jsonrpc: "2.0", id: Some(id), method, params }))
}

/// Converts the output of [`encode`] to text.
pub(crate) fn into_text(json: Vec<u8>) -> String {
    String::from_utf8(json).expect("serde_json writes UTF-8")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn code(body: &str) -> i64 {
        parse_body(body.as_bytes()).expect_err("must be refused").error.code
    }

    #[test]
    fn parses_requests_notifications_and_responses() {
        let body = br#" {"jsonrpc":"2.0","id":"a","method":"ping","params":{"x":1}} "#;
        let Body::Single(Message::Request(request)) = parse_body(body).unwrap() else {
            panic!("a request")
        };
        assert_eq!(request.id, RequestId::String("a".into()));
        assert_eq!(request.params.get("x").unwrap().get(), "1");
        let note = br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
        assert!(matches!(parse_body(note), Ok(Body::Single(Message::Notification { .. }))));
        let answer = br#"{"jsonrpc":"2.0","id":3,"result":{}}"#;
        assert!(matches!(
            parse_body(answer),
            Ok(Body::Single(Message::Response { id: Some(RequestId::Number(3)), outcome: Ok(_) }))
        ));
    }

    #[test]
    fn rejects_messages_that_are_not_json_rpc() {
        assert_eq!(code(""), codes::PARSE_ERROR);
        assert_eq!(code("{"), codes::PARSE_ERROR);
        assert_eq!(code("null"), codes::INVALID_REQUEST);
        assert_eq!(code("[]"), codes::INVALID_REQUEST);
        assert_eq!(code(r#"{"id":1,"method":"ping"}"#), codes::INVALID_REQUEST);
        assert_eq!(code(r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#), codes::INVALID_REQUEST);
        assert_eq!(code(r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#), codes::INVALID_REQUEST);
        assert_eq!(code(r#"{"jsonrpc":"2.0","id":1}"#), codes::INVALID_REQUEST);
        assert_eq!(
            code(r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[1]}"#),
            codes::INVALID_PARAMS
        );
        let batch = format!("[{}]", vec!["{}"; MAX_BATCH + 1].join(","));
        assert_eq!(code(&batch), codes::INVALID_REQUEST);
    }

    proptest! {
        #[test]
        fn never_panics(body: Vec<u8>) {
            drop(parse_body(&body));
        }

        #[test]
        fn an_id_round_trips(number: i64, text: String) {
            for id in [RequestId::Number(number), RequestId::String(text)] {
                let json = serde_json::to_string(&id).unwrap();
                prop_assert_eq!(serde_json::from_str::<RequestId>(&json).unwrap(), id);
            }
        }
    }
}
