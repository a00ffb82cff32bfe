//! Whatever is posted to `/mcp`: never a panic, never a 5xx, always an answer in the right form.

use http::{HeaderMap, HeaderName, HeaderValue};
use mcp::{Reply, ReplyBody};
use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::{Value, json};
use tests::fuzzing::{Protocol, standard_headers};

/// Posts a body and checks what holds for every answer.
fn post(target: &Protocol, headers: &HeaderMap, body: Vec<u8>) -> Result<(), TestCaseError> {
    let shown = String::from_utf8_lossy(&body).into_owned();
    let Some(Reply { status, body, .. }) = target.send(headers, body) else {
        return Err(TestCaseError::fail(format!("no answer to {shown}")));
    };
    prop_assert!(!status.is_server_error(), "{status} for {shown}");
    match body {
        ReplyBody::Empty => prop_assert_eq!(status, 202, "nothing said about {}", shown),
        ReplyBody::Json(body) => {
            let answer: Value = serde_json::from_slice(&body).expect("an answer is JSON");
            let answers = answer.as_array().cloned().unwrap_or_else(|| vec![answer]);
            for answer in answers {
                prop_assert_eq!(&answer["jsonrpc"], "2.0");
                let code = answer["error"]["code"].as_i64();
                prop_assert!(code.is_some() != answer.get("result").is_some(), "{answer}");
                prop_assert_ne!(code, Some(-32603), "an internal error for {}", shown);
            }
        }
        ReplyBody::Events(_) => prop_assert_eq!(status, 200),
        ReplyBody::InsufficientScope { .. } => prop_assert!(false, "no fixture has a scope"),
    }
    Ok(())
}

const METHODS: &[&str] = &[
    "initialize",
    "ping",
    "server/discover",
    "tools/list",
    "tools/call",
    "prompts/list",
    "prompts/get",
    "resources/list",
    "resources/templates/list",
    "resources/read",
    "resources/subscribe",
    "resources/unsubscribe",
    "subscriptions/listen",
    "completion/complete",
    "logging/setLevel",
    "notifications/initialized",
    "notifications/cancelled",
    "notifications/progress",
    "tasks/get",
];

/// Names and URIs that exist, so that not every guess ends at the door.
const TARGETS: &[&str] = &[
    "test_simple_text",
    "test_image_content",
    "test_error_handling",
    "test_custom_header",
    "test_sampling",
    "test_elicitation",
    "test_input_required_result_multiple_inputs",
    "test_simple_prompt",
    "test_prompt_with_arguments",
    "test://static-text",
    "test://template/1/data",
    "json_schema_2020_12_tool",
];

/// Any JSON.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1e300..1e300).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        select(TARGETS).prop_map(Value::from),
        select(METHODS).prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::from),
            vec((key(), inner), 0..5).prop_map(|members| members.into_iter().collect()),
        ]
    })
}

/// Names of members that mean something somewhere, or any.
fn key() -> impl Strategy<Value = String> {
    const KNOWN: &[&str] = &[
        "jsonrpc",
        "id",
        "method",
        "params",
        "result",
        "error",
        "name",
        "arguments",
        "uri",
        "_meta",
        "cursor",
        "ref",
        "argument",
        "value",
        "type",
        "level",
        "requestId",
        "requestState",
        "inputResponses",
        "progressToken",
        "notifications",
        "resourceSubscriptions",
        "capabilities",
        "protocolVersion",
        "clientInfo",
        "message",
        "context",
        "io.modelcontextprotocol/protocolVersion",
        "io.modelcontextprotocol/clientCapabilities",
        "io.modelcontextprotocol/logLevel",
    ];
    prop_oneof![4 => select(KNOWN).prop_map(str::to_owned), 1 => any::<String>()]
}

/// A request that is right, in either era.
fn request(modern: bool) -> impl Strategy<Value = Value> {
    (select(METHODS), select(TARGETS), any::<i64>()).prop_map(move |(method, target, id)| {
        let mut params = json!({ "name": target, "uri": target, "arguments": {} });
        match method {
            "completion/complete" => {
                params["ref"] = json!({ "type": "ref/prompt", "name": target });
                params["argument"] = json!({ "name": "arg1", "value": "a" });
            }
            "subscriptions/listen" => params["notifications"] = json!({ "toolsListChanged": true }),
            "logging/setLevel" => params["level"] = json!("info"),
            _ => {}
        }
        if modern {
            params["_meta"] = json!({
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": { "elicitation": {}, "sampling": {} },
            });
        }
        json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
    })
}

/// What is done to a request.
#[derive(Clone, Debug)]
enum Mutation {
    /// Puts something else in the place of one member, counted over all depths.
    Replace(usize, Value),
    /// Takes one member away.
    Remove(usize),
    /// Adds a member to the n-th object.
    Add(usize, String, Value),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    prop_oneof![
        (0..16_usize, anything()).prop_map(|(place, value)| Mutation::Replace(place, value)),
        (0..16_usize).prop_map(Mutation::Remove),
        (0..6_usize, key(), anything()).prop_map(|(n, key, value)| Mutation::Add(n, key, value)),
    ]
}

impl Mutation {
    fn apply(&self, body: &mut Value) {
        let mut pointers = Vec::new();
        collect(body, String::new(), &mut pointers);
        match self {
            Self::Replace(place, value) => {
                if let Some(found) = body.pointer_mut(&pointers[place % pointers.len()]) {
                    *found = value.clone();
                }
            }
            Self::Remove(place) => {
                let pointer = &pointers[place % pointers.len()];
                if let Some((parent, name)) = pointer.rsplit_once('/')
                    && let Some(Value::Object(parent)) = body.pointer_mut(parent)
                {
                    parent.remove(&name.replace("~1", "/").replace("~0", "~"));
                }
            }
            Self::Add(place, key, value) => {
                if let Some(Value::Object(found)) =
                    body.pointer_mut(&pointers[place % pointers.len()])
                {
                    found.insert(key.clone(), value.clone());
                }
            }
        }
    }
}

/// JSON pointers of every value.
fn collect(value: &Value, pointer: String, found: &mut Vec<String>) {
    if let Value::Object(members) = value {
        for (key, value) in members {
            let key = key.replace('~', "~0").replace('/', "~1");
            collect(value, format!("{pointer}/{key}"), found);
        }
    }
    found.push(pointer);
}

/// Headers: those that belong to the body, those of a session, or any.
fn headers_for(body: &Value, session: Option<&str>, odd: &[(String, String)]) -> HeaderMap {
    let mut headers = standard_headers();
    let mut set = |name: &str, value: &str| {
        if let (Ok(name), Ok(value)) =
            (name.parse::<HeaderName>(), HeaderValue::from_bytes(value.as_bytes()))
        {
            headers.insert(name, value);
        }
    };
    if let Some(session) = session {
        set("mcp-session-id", session);
    } else {
        let text = |pointer| body.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        set("mcp-protocol-version", "2026-07-28");
        set("mcp-method", text("/method"));
        let uri = text("/method") == "resources/read";
        set("mcp-name", text(if uri { "/params/uri" } else { "/params/name" }));
    }
    for (name, value) in odd {
        set(name, value);
    }
    headers
}

fn odd_headers() -> impl Strategy<Value = Vec<(String, String)>> {
    const NAMES: &[&str] = &[
        "mcp-protocol-version",
        "mcp-method",
        "mcp-name",
        "mcp-session-id",
        "mcp-param-value",
        "last-event-id",
        "accept",
        "content-type",
    ];
    let value = prop_oneof![
        any::<String>(),
        "=\\?base64\\?[A-Za-z0-9+/=]{0,12}\\?=",
        select(&["2025-11-25", "2025-03-26", "2026-07-28", "9999-99-99"][..])
            .prop_map(str::to_owned),
    ];
    vec((select(NAMES).prop_map(str::to_owned), value), 0..2)
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

#[test]
fn bytes_of_any_kind() {
    let target = Protocol::start();
    proptest!(cases(512), |(body in vec(any::<u8>(), 0..512), with_session: bool)| {
        let session = with_session.then_some(target.session());
        post(&target, &headers_for(&Value::Null, session, &[]), body)?;
    });
}

#[test]
fn json_of_any_kind() {
    let target = Protocol::start();
    proptest!(cases(512), |(body in anything(), with_session: bool, odd in odd_headers())| {
        let session = with_session.then_some(target.session());
        post(&target, &headers_for(&body, session, &odd), body.to_string().into())?;
    });
}

#[test]
fn requests_that_are_almost_right() {
    let target = Protocol::start();
    let requests = prop_oneof![(Just(true), request(true)), (Just(false), request(false)),];
    let inputs = (requests, vec(mutation(), 0..4), odd_headers());
    proptest!(cases(2_048), |(((modern, mut body), mutations, odd) in inputs)| {
        for mutation in &mutations {
            mutation.apply(&mut body);
        }
        let session = (!modern).then_some(target.session());
        post(&target, &headers_for(&body, session, &odd), body.to_string().into())?;
    });
}

#[test]
fn batches_of_requests_that_are_almost_right() {
    let target = Protocol::start();
    let inputs = vec((request(false), vec(mutation(), 0..2)), 0..4);
    proptest!(cases(256), |(messages in inputs)| {
        let batch: Vec<Value> = messages
            .into_iter()
            .map(|(mut body, mutations)| {
                for mutation in mutations {
                    mutation.apply(&mut body);
                }
                body
            })
            .collect();
        let headers = headers_for(&Value::Null, Some(target.session()), &[]);
        post(&target, &headers, Value::Array(batch).to_string().into())?;
    });
}

#[test]
fn requests_with_damaged_bytes() {
    let target = Protocol::start();
    let inputs = (request(true), any::<prop::sample::Index>(), any::<u8>(), any::<bool>());
    proptest!(cases(512), |((body, place, byte, cut) in inputs)| {
        let headers = headers_for(&body, None, &[]);
        let mut bytes = body.to_string().into_bytes();
        let place = place.index(bytes.len());
        bytes[place] = byte;
        if cut {
            bytes.truncate(place);
        }
        post(&target, &headers, bytes)?;
    });
}
