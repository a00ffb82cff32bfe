use std::{collections::BTreeSet, convert::Infallible};

use futures_util::stream;
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use serde_json::{Value, json};

use super::*;
use crate::{
    AnyTool, Call, Catalog, Implementation, NoInput, SealKey, ServerInfo, Settings, Stores, Text,
    Tool, UserId, error::ToolError,
};

const NOW: i64 = 1_800_000_000;

struct Greet;

impl Tool<()> for Greet {
    const NAME: &'static str = "greet";
    const TITLE: &'static str = "Greet";
    const DESCRIPTION: &'static str = "Greets.";
    const SCOPE: &'static str = "greet";
    type Input = NoInput;
    type Output = Text;

    async fn call(&self, call: &Call, (): &(), _: NoInput) -> Result<Text, ToolError> {
        Ok(Text(format!("Hello, {}!", call.user())))
    }
}

static TOOLS: &[&dyn AnyTool<()>] = &[&Greet];

/// Accepts the tokens `good`, `stale` (which has expired) and `poor` (which has no scopes).
struct Tokens;

#[async_trait]
impl TokenVerifier for Tokens {
    async fn verify(&self, token: &str) -> Result<Caller, TokenError> {
        let scopes: &[&str] = match token {
            "good" | "stale" => &["greet"],
            "poor" => &[],
            "expired" => return Err(TokenError::Expired),
            "unavailable" => return Err(TokenError::Unavailable),
            _ => return Err(TokenError::Invalid),
        };
        Ok(Caller {
            user: UserId::new("test:ada"),
            client: "client".into(),
            scopes: scopes.iter().map(ToString::to_string).collect::<BTreeSet<_>>(),
            grant: "grant".into(),
            key: "key".into(),
            issued_at: NOW - 60,
            expires_at: if token == "stale" { NOW } else { NOW + 60 },
            request: None,
        })
    }
}

fn endpoint(public_url: &str) -> Endpoint {
    let implementation = Implementation {
        name: "test".to_owned(),
        title: None,
        version: "1".to_owned(),
        description: None,
        website_url: None,
        icons: Vec::new(),
    };
    let info = ServerInfo { implementation, instructions: None };
    let catalog = Catalog::new(info).with((), TOOLS, &[], &[]);
    let settings = Settings {
        seal_keys: vec![SealKey::new([7; 32])],
        now: Arc::new(|| NOW),
        page_size: Settings::PAGE_SIZE,
        jobs: None,
        rate_limiter: None,
        access: None,
    };
    let engine = Engine::new(catalog, Stores::in_memory(Duration::from_hours(1)), settings);
    let access = Access {
        allowed_origins: vec!["https://app.example".to_owned()],
        resource_metadata: Some("https://h.example/.well-known/metadata".to_owned()),
        scopes: vec!["greet"],
        ..Access::new(public_url, Arc::new(Tokens))
    };
    Endpoint::new(engine, access).unwrap()
}

/// A valid call of the tool, which the tests modify.
fn call() -> http::request::Builder {
    Request::post("/mcp")
        .header("host", "h.example")
        .header("authorization", "Bearer good")
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", "tools/call")
        .header("mcp-name", "greet")
}

fn body() -> Full<Bytes> {
    let body = json!({
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {
            "name": "greet",
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {},
            },
        },
    });
    Full::from(body.to_string())
}

struct Received {
    status: u16,
    headers: http::HeaderMap,
    body: Value,
}

impl Received {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

async fn send<B: Body>(endpoint: &Endpoint, request: Request<B>) -> Received {
    let (head, body) = endpoint.handle(request).await.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Received {
        status: head.status.as_u16(),
        headers: head.headers,
        body: crate::json::from_slice(&body).unwrap_or_default(),
    }
}

/// Sends a call with a header set to these values.
async fn with(name: &str, values: &[&str]) -> Received {
    let mut request = call().body(body()).unwrap();
    request.headers_mut().remove(name);
    for value in values {
        let name: HeaderName = name.parse().unwrap();
        request.headers_mut().append(name, value.parse().unwrap());
    }
    send(&endpoint("https://h.example/mcp"), request).await
}

#[tokio::test]
async fn a_call_with_a_token_is_answered() {
    let received = with("origin", &[]).await;
    assert_eq!(received.status, 200);
    assert_eq!(received.header("content-type"), "application/json");
    assert_eq!(received.header("cache-control"), "no-store");
    assert_eq!(received.body["result"]["content"][0]["text"], "Hello, test:ada!");
}

#[tokio::test]
async fn foreign_pages_and_hosts_are_refused() {
    for (origin, status) in [
        ("https://h.example", 200),
        ("https://app.example", 200),
        ("https://evil.example", 403),
        ("null", 403),
    ] {
        assert_eq!(with("origin", &[origin]).await.status, status, "{origin}");
    }
    assert_eq!(with("host", &["evil.example"]).await.status, 421);
    assert_eq!(with("host", &[]).await.status, 421);
    assert_eq!(with("host", &["h.example", "evil.example"]).await.status, 400);
}

#[tokio::test]
async fn dns_rebinding_to_loopback_is_refused() {
    let endpoint = endpoint("http://127.0.0.1:8080/mcp");
    for (host, status) in [
        ("127.0.0.1:8080", 200),
        ("localhost:8080", 200),
        ("evil.example:8080", 421),
        ("localhost:9090", 421),
    ] {
        let mut request = call().body(body()).unwrap();
        request.headers_mut().insert("host", host.parse().unwrap());
        assert_eq!(send(&endpoint, request).await.status, status, "{host}");
    }
}

#[tokio::test]
async fn in_http_2_the_authority_is_the_host() {
    let endpoint = endpoint("https://h.example/mcp");
    for (version, authority, status) in [
        (Version::HTTP_2, "h.example", 200),
        (Version::HTTP_2, "evil.example", 421),
        (Version::HTTP_11, "h.example", 421),
    ] {
        let request = call().version(version).uri(format!("https://{authority}/mcp"));
        let mut request = request.body(body()).unwrap();
        request.headers_mut().remove("host");
        assert_eq!(send(&endpoint, request).await.status, status, "{version:?} {authority}");
    }
}

#[tokio::test]
async fn without_a_valid_token_the_response_is_a_challenge() {
    for (token, status) in [
        (None, 401),
        (Some("Bearer bad"), 401),
        (Some("Bearer expired"), 401),
        (Some("Bearer stale"), 401),
        (Some("Bearer a b"), 401),
        (Some("Basic good"), 401),
        (Some("Bearer unavailable"), 503),
    ] {
        let received = with("authorization", token.as_slice()).await;
        assert_eq!(received.status, status, "{token:?}");
        if status == 401 {
            let challenge = received.header("www-authenticate");
            let end =
                r#"resource_metadata="https://h.example/.well-known/metadata", scope="greet""#;
            assert!(challenge.starts_with("Bearer ") && challenge.ends_with(end), "{challenge}");
        }
    }
    let poor = with("authorization", &["Bearer poor"]).await;
    assert_eq!(poor.status, 403);
    let challenge = poor.header("www-authenticate");
    assert!(challenge.starts_with(r#"Bearer error="insufficient_scope", scope="greet""#));
}

#[tokio::test]
async fn other_methods_and_large_bodies_are_refused() {
    let endpoint = endpoint("https://h.example/mcp").with_max_body_bytes(500);
    for method in [Method::PUT, Method::OPTIONS, Method::HEAD] {
        let request = call().method(&method).body(body()).unwrap();
        let received = send(&endpoint, request).await;
        assert_eq!(received.status, 405, "{method}");
        assert_eq!(received.header("allow"), METHODS);
    }
    let request = call().header("content-length", "501").body(Full::<Bytes>::default()).unwrap();
    assert_eq!(send(&endpoint, request).await.status, 413);
    let piece = || Ok::<_, Infallible>(Frame::data(Bytes::from_static(&[b' '; 251])));
    let request = call().body(StreamBody::new(stream::iter([piece(), piece()]))).unwrap();
    assert_eq!(send(&endpoint, request).await.status, 413);
    let (start, end) = (&b"[\n"[..], &b"]"[..]);
    let pieces =
        [start, end, &[]].map(|piece| Ok::<_, Infallible>(Frame::data(Bytes::from(piece))));
    let request = call().body(StreamBody::new(stream::iter(pieces))).unwrap();
    let received = send(&endpoint, request).await;
    assert_eq!(received.body["error"]["message"], "a batch must not be empty");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_end_is_refused() {
    let frames = stream::pending::<Result<Frame<Bytes>, Infallible>>();
    let request = call().body(StreamBody::new(frames)).unwrap();
    assert_eq!(send(&endpoint("https://h.example/mcp"), request).await.status, 408);
}

#[test]
fn an_origin_is_the_beginning_of_a_url() {
    for (url, origin) in [
        ("https://h.example/mcp", "https://h.example"),
        ("https://h.example", "https://h.example"),
        ("http://[::1]:8080?a", "http://[::1]:8080"),
        ("h.example/mcp", "h.example"),
    ] {
        assert_eq!(origin_of(url), origin);
    }
}
