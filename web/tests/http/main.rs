//! HTTP behavior independent of the MCP engine, tested over real connections with SQLite.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod server;
mod sign_in;

use std::time::{Duration, Instant};

use reqwest::{RequestBuilder, Response, StatusCode};
use serde_json::Value;
use tests::fixtures::items::{READ, WRITE};
use tokio::{io::AsyncReadExt as _, net::TcpStream};

use crate::server::Server;

/// Checks the common form of error responses, and returns status and code.
async fn error_of(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    let header = |name: &str| {
        let value = response.headers().get(name);
        value.map(|value| value.to_str().unwrap().to_owned())
    };
    let request_id = header("x-request-id").expect("every response has a request id");
    assert_eq!(header("content-type").as_deref(), Some("application/json"));
    let body: Value = response.json().await.expect("every error is JSON");
    assert_eq!(body["request_id"], *request_id);
    let sentence = body["error_description"].as_str().unwrap();
    assert!(sentence.ends_with('.'), "not a sentence: {sentence}");
    assert_eq!(body.as_object().unwrap().len(), 3, "{body}");
    (status, body["error"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn an_unknown_path_shows_browsers_a_page() {
    let server = Server::start().await;
    let request = server.request("GET", "/nothing");
    let page = request.header("accept", "text/html,application/xhtml+xml,*/*;q=0.8").send().await;
    let page = page.unwrap();
    assert_eq!(page.status(), 404);
    assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
    assert_eq!(page.headers()["x-frame-options"], "DENY");
    let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
    let id = page.headers()["x-request-id"].to_str().unwrap().to_owned();
    let html = page.text().await.unwrap();
    assert!(html.contains(&id) && html.contains(r#"href="/""#), "{html}");
}

#[tokio::test]
async fn every_error_has_its_status_and_says_what_to_do() {
    let server = Server::start().await;
    let token = server.token(&[READ]).await;
    let get = |path| server.request("GET", path);
    let mcp = || server.request("POST", "/mcp").body("{}");
    let authorized = || mcp().bearer_auth(&token);
    let port = server.port;

    for (request, status, code) in [
        (get("/nothing"), 404, "not_found"),
        (get("/mcp/"), 401, "unauthorized"),
        (server.request("POST", "/nothing").header("accept", "text/html"), 404, "not_found"),
        (server.request("POST", "/healthz"), 405, "method_not_allowed"),
        (get("/token"), 405, "method_not_allowed"),
        (server.request("PUT", "/mcp").bearer_auth(&token), 405, "method_not_allowed"),
        (mcp(), 401, "unauthorized"),
        (get("/mcp"), 401, "unauthorized"),
        (server.request("DELETE", "/mcp"), 401, "unauthorized"),
        (server.request("POST", &format!("/mcp?access_token={token}")), 401, "unauthorized"),
        (mcp().basic_auth("a", Some("b")), 401, "unauthorized"),
        (mcp().bearer_auth("nonsense"), 401, "invalid_token"),
        (mcp().bearer_auth("two words"), 401, "invalid_token"),
        (authorized().bearer_auth(&token), 401, "invalid_token"),
        (authorized().header("host", "evil.example"), 421, "misdirected_request"),
        (authorized().header("origin", "http://evil.example"), 403, "forbidden_origin"),
        (authorized().header("origin", "null"), 403, "forbidden_origin"),
        (mcp().header("host", format!("evil.example:{port}")), 421, "misdirected_request"),
        (authorized().body(vec![b' '; 4 * 1024 * 1024 + 1]), 413, "payload_too_large"),
    ] {
        let request = request.build().unwrap();
        let what = format!("{} {}", request.method(), request.url());
        let refused = error_of(server.client.execute(request).await.unwrap()).await;
        assert_eq!(refused, (status, code.to_owned()), "{what}");
    }
}

#[tokio::test]
async fn an_invalid_token_gets_a_challenge() {
    let server = Server::start().await;
    let challenge = async |request: RequestBuilder| {
        let response = request.send().await.unwrap();
        response.headers()["www-authenticate"].to_str().unwrap().to_owned()
    };
    let metadata = format!("{}/.well-known/oauth-protected-resource/mcp", server.url);

    let missing = challenge(server.request("POST", "/mcp")).await;
    let expected =
        format!(r#"Bearer resource_metadata="{metadata}", scope="items:read items:write""#);
    assert_eq!(missing, expected);
    let bad = challenge(server.request("POST", "/mcp").bearer_auth("bad")).await;
    assert!(bad.starts_with(r#"Bearer error="invalid_token", error_description=""#), "{bad}");
    assert!(bad.contains(&format!(r#"resource_metadata="{metadata}""#)), "{bad}");

    // The metadata document that the challenge names exists and describes this resource.
    let document: Value = server.client.get(metadata).send().await.unwrap().json().await.unwrap();
    assert_eq!(document["resource"], format!("{}/mcp", server.url));
    assert_eq!(document["authorization_servers"], serde_json::json!([server.url]));
}

#[tokio::test]
async fn an_insufficient_scope_challenge_names_the_granted_scopes_too() {
    let server = Server::start().await;
    let arguments = serde_json::json!({"title": "t", "body": "b"});

    let token = server.token(&[READ]).await;
    let refused = server.call(&token, "items_create", &arguments).send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    let challenge = refused.headers()["www-authenticate"].to_str().unwrap();
    let start = r#"Bearer error="insufficient_scope", scope="items:read items:write", "#;
    assert!(challenge.starts_with(start), "{challenge}");

    let token = server.token(&[READ, WRITE]).await;
    let done = server.call(&token, "items_create", &arguments).send().await.unwrap();
    assert_eq!(done.status(), StatusCode::OK);
    assert_eq!(done.headers()["cache-control"], "no-store");
    let answer: Value = done.json().await.unwrap();
    assert_ne!(answer["result"]["isError"], true, "{answer}");
    assert_eq!(answer["result"]["structuredContent"]["title"], "t", "{answer}");
}

#[tokio::test]
async fn a_missing_token_is_rejected_before_the_body_arrives() {
    let server = Server::start().await;
    let head = format!(
        "POST /mcp HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Length: 1000000\r\n\r\n",
        server.port
    );
    let mut stream = server.raw(&head).await;
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 401");
}

#[tokio::test]
async fn only_pages_of_allowed_origins_can_read_responses_of_mcp() {
    let server = Server::start().await;
    let preflight = |origin: &str| {
        server
            .request("OPTIONS", "/mcp")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization,mcp-param-x,cookie")
    };
    let own_origin = format!("http://localhost:{}", server.port);
    for origin in ["https://app.example", &own_origin] {
        let allowed = preflight(origin).send().await.unwrap();
        assert_eq!(allowed.status(), StatusCode::NO_CONTENT);
        let headers = allowed.headers();
        assert_eq!(headers["access-control-allow-origin"], origin);
        assert_eq!(headers["access-control-allow-headers"], "authorization, mcp-param-x");

        let refused = server.request("POST", "/mcp").header("origin", origin).send().await.unwrap();
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
        let headers = refused.headers();
        assert_eq!(headers["access-control-allow-origin"], origin);
        assert_eq!(headers["vary"], "Origin");
        let exposed = headers["access-control-expose-headers"].to_str().unwrap();
        assert!(exposed.contains("WWW-Authenticate") && exposed.contains("Mcp-Session-Id"));
    }
    let foreign = preflight("https://evil.example").send().await.unwrap();
    assert_eq!(foreign.status(), StatusCode::FORBIDDEN);
    assert!(!foreign.headers().contains_key("access-control-allow-origin"));

    let document = server.request("GET", "/.well-known/oauth-protected-resource");
    let document = document.header("origin", "https://evil.example").send().await.unwrap();
    assert_eq!(document.headers()["access-control-allow-origin"], "*");
}

#[tokio::test]
async fn a_request_id_is_returned_and_a_malformed_one_is_replaced() {
    let server = Server::start().await;
    let id = async |id: &str| {
        let response = server.request("GET", "/livez").header("x-request-id", id).send().await;
        response.unwrap().headers()["x-request-id"].to_str().unwrap().to_owned()
    };
    assert_eq!(id("My-request.1").await, "My-request.1");
    assert_ne!(id("two words").await, "two words");
}

#[tokio::test]
async fn the_openapi_document_is_as_reviewed_and_lists_every_path_except_pages() {
    let server = Server::start().await;
    let document = server.request("GET", "/openapi.json").send().await.unwrap();
    let mut document: Value = document.json().await.unwrap();

    let paths = document["paths"].as_object().unwrap();
    let documented: Vec<&str> = paths.keys().map(String::as_str).collect();
    assert_eq!(
        documented,
        [
            "/.well-known/jwks.json",
            "/.well-known/oauth-authorization-server",
            "/.well-known/oauth-protected-resource",
            "/.well-known/oauth-protected-resource/mcp",
            "/healthz",
            "/livez",
            "/register",
            "/revoke",
            "/token",
        ]
    );
    let readable = documented.iter().filter(|path| !paths[**path]["get"].is_null());
    for path in readable {
        let answer = server.request("GET", path).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        let known = &document["paths"][*path]["get"]["responses"]["200"]["headers"];
        for name in known.as_object().unwrap().keys() {
            assert!(answer.headers().contains_key(name.as_str()), "{path} lacks {name}");
        }
    }
    document["info"]["version"] = "0.0.0".into(); // a release changes nothing else
    insta::assert_json_snapshot!("openapi", document);
}

#[tokio::test]
async fn only_the_public_keys_are_published() {
    let server = Server::start().await;
    server.token(&[READ]).await;
    let answer = server.request("GET", "/.well-known/jwks.json").send().await.unwrap();
    assert_eq!(answer.headers()["cache-control"], "public, max-age=300");
    let set: Value = answer.json().await.unwrap();
    let key = set["keys"][0].as_object().unwrap();
    let members: Vec<_> = key.keys().map(String::as_str).collect();
    assert_eq!(members, ["alg", "crv", "kid", "kty", "use", "x", "y"]);
}

#[tokio::test]
async fn pages_show_the_endpoint_and_load_nothing_external() {
    let server = Server::start().await;
    for (path, expected) in [("/", format!("{}/mcp", server.url)), ("/docs", "openapi".into())] {
        let page = server.request("GET", path).send().await.unwrap();
        let policy = page.headers()["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("default-src 'none'"), "{policy}");
        assert!(page.text().await.unwrap().contains(&expected), "{path}");
    }
}

#[tokio::test]
async fn the_reference_is_sandboxed_cached_and_rate_limited() {
    let server = Server::start().await;
    let began = tokio::time::Instant::now();
    let whole = server.request("GET", "/docs").send().await.unwrap();
    let policy = whole.headers()["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("sandbox allow-scripts; default-src 'none'"), "{policy}");
    assert!(!policy.contains("allow-same-origin") && !policy.contains("'self'"), "{policy}");
    assert_eq!(whole.headers()["cache-control"], "public, max-age=3600");
    assert_eq!(whole.headers()["vary"], "accept-encoding");
    assert!(!whole.headers().contains_key("content-encoding"));
    let tag = whole.headers()["etag"].clone();
    let html = whole.bytes().await.unwrap();

    let gzip = server.request("GET", "/docs").header("accept-encoding", "br, gzip");
    let gzip = gzip.send().await.unwrap();
    assert_eq!(gzip.headers()["content-encoding"], "gzip");
    assert_eq!(gzip.headers()["etag"], tag);
    let gzip = gzip.bytes().await.unwrap();
    assert!(gzip.len() < html.len() / 2, "{} of {}", gzip.len(), html.len());

    let known = server.request("GET", "/docs").header("if-none-match", tag);
    let known = known.send().await.unwrap();
    assert_eq!(known.status(), 304);
    assert!(known.bytes().await.unwrap().is_empty());

    // 30 a minute: the three requests above, these, and one more for every two seconds so far.
    let mut allowed = 3;
    while server.request("HEAD", "/docs").send().await.unwrap().status() == 200 {
        allowed += 1;
    }
    let refilled = began.elapsed().as_secs().div_ceil(2);
    assert!((30..=30 + refilled).contains(&allowed), "{allowed} of 30 and {refilled}");
    let refused = loop {
        let refused = server.request("GET", "/docs").send().await.unwrap();
        if refused.status() == 429 {
            break refused;
        }
    };
    assert!(refused.headers().contains_key("retry-after"));
    assert_eq!(server.request("GET", "/account").send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn an_instance_shuts_down_in_time_whatever_its_clients_do() {
    let server = Server::start().await;
    // One client never finishes its request, one sends nothing, and one never reads its response.
    let _half = server.raw("POST /mcp HTTP/1.1\r\nHost: 127.0.0.1").await;
    let _idle = server.raw("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let token = server.token(&[READ]).await;
    let body = format!(
        "POST /mcp HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nAuthorization: Bearer {token}\r\n\
         Content-Length: 100\r\n\r\n",
        server.port
    );
    let _without_its_body = server.raw(&body).await;
    let alive = server.request("GET", "/healthz").send().await.unwrap();
    assert_eq!(alive.status(), StatusCode::OK);

    let asked = Instant::now();
    server.shutdown.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(5), server.running).await;
    ended.expect("it did not end").unwrap().unwrap();
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
}

#[tokio::test]
async fn two_instances_run_in_one_process_and_stop_separately() {
    let (first, second) = tokio::join!(Server::start(), Server::start());
    let token = first.token(&[READ]).await;
    // A token is valid for one server only.
    let refused = second.request("POST", "/mcp").bearer_auth(&token).send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);

    first.shutdown.cancel();
    first.running.await.unwrap().unwrap();
    let alive = second.request("GET", "/livez").send().await.unwrap();
    assert_eq!(alive.status(), StatusCode::OK);
    assert!(TcpStream::connect(("127.0.0.1", first.port)).await.is_err());
}
