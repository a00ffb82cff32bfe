//! What a client sends is never counted as a failure of the server: no 5xx, whatever the path, the
//! method, the parameters and the headers.

use std::time::Duration;

use reqwest::{Method, RequestBuilder};
use serde_json::json;
use tests::{
    client::{ACCEPT, Page, Web},
    cluster::{Cluster, Database, Setup},
    github::GitHub,
};

/// Every path, with a placeholder for a value.
const PATHS: [&str; 23] = [
    "/",
    "/mcp",
    "/docs",
    "/openapi.json",
    "/healthz",
    "/livez",
    "/metrics",
    "/.well-known/oauth-protected-resource",
    "/.well-known/oauth-protected-resource/mcp",
    "/.well-known/oauth-authorization-server",
    "/.well-known/jwks.json",
    "/register",
    "/token",
    "/revoke",
    "/exports/VALUE",
    "/authorize?response_type=code&client_id=VALUE&redirect_uri=VALUE&state=VALUE",
    "/authorize?client_id=VALUE&client_id=VALUE",
    "/consent?txn=VALUE",
    "/sign-in?state=VALUE",
    "/oauth/github/callback?state=VALUE&code=VALUE",
    "/oauth/github/callback?state=VALUE&error=VALUE",
    "/account?done=VALUE",
    "/nothing/VALUE",
];

/// URL-encoded values that parsers tend to fail on.
const VALUES: [&str; 12] = [
    "",
    "x",
    "%00",
    "x%3A%2F%2F%00",
    "https%3A%2F%2Fapp.example.com%2Fc%00",
    "%ff%fe",
    "%",
    "%ed%a0%80",
    "..%2f..%2fetc",
    "%F0%9F%92%A9",
    "-1",
    "99999999999999999999999999",
];

/// Headers that parsers tend to fail on.
const HEADERS: [(&str, &[u8]); 16] = [
    ("accept", b"\xff"),
    ("accept", b"text/html;q=nan, */*;q=-1"),
    ("authorization", b"Bearer \xff"),
    ("authorization", b"Basic ////"),
    ("authorization", b"Basic AHgA"), // a NUL on both sides of the colon that is not there
    ("content-type", b"\xff/\xfe"),
    ("content-type", b"multipart/form-data; boundary="),
    ("content-encoding", b"br"),
    ("cookie", b"session=\xff; =; txn=%00"),
    ("origin", b"null"),
    ("if-none-match", b"*"),
    ("range", b"bytes=5-1"),
    ("last-event-id", b"get.18446744073709551615"),
    ("mcp-session-id", b"\x80"),
    ("x-forwarded-for", b"unknown, [::1, 1.2.3.4:5"),
    ("traceparent", b"00-zz-zz-01"),
];

const METHODS: [Method; 8] = [
    Method::GET,
    Method::HEAD,
    Method::OPTIONS,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::TRACE,
];

/// Longer than any rejected request takes.
const PATIENCE: Duration = Duration::from_secs(10);

async fn blames_the_client(what: &str, request: RequestBuilder) {
    let answer = tokio::time::timeout(PATIENCE, Page::read(request)).await;
    let page = answer.unwrap_or_else(|_elapsed| panic!("{what}: no answer"));
    assert!(!page.status.is_server_error(), "{what}: {} {}", page.status, page.text());
}

fn from_anywhere(request: RequestBuilder) -> RequestBuilder {
    request.header("x-forwarded-for", tests::browser::visitor())
}

async fn every_path(web: &Web) {
    for path in PATHS {
        for method in METHODS {
            for value in VALUES {
                let path = path.replace("VALUE", value);
                let request = from_anywhere(web.request(method.clone(), &path));
                blames_the_client(&format!("{method} {path}"), request).await;
                if !PATHS.contains(&path.as_str()) {
                    continue;
                }
                break; // without a place for a value
            }
        }
        let path = path.replace("VALUE", "x");
        for (name, value) in HEADERS {
            for method in [Method::GET, Method::POST] {
                let request = web.request(method.clone(), &path).header(name, value);
                let request =
                    if name == "x-forwarded-for" { request } else { from_anywhere(request) };
                blames_the_client(&format!("{method} {path} {name}: {value:?}"), request).await;
            }
        }
    }
}

async fn every_form(web: &Web) {
    for path in ["/token", "/revoke", "/consent", "/sign-in", "/account"] {
        for value in VALUES {
            for body in [
                format!("grant_type=authorization_code&client_id={value}&code=x&code_verifier=x"),
                format!("grant_type=refresh_token&client_id={value}&refresh_token={value}"),
                format!("grant_type={value}&client_id=x"),
                format!("token={value}&client_id={value}&token_type_hint={value}"),
                format!("txn={value}&csrf={value}&decision=approve&state={value}&name={value}"),
                format!("action=sign_out&csrf={value}"),
                value.to_owned(),
            ] {
                let request = from_anywhere(web.request(Method::POST, path))
                    .header("content-type", "application/x-www-form-urlencoded")
                    .header("sec-fetch-site", "same-origin")
                    .body(body.clone());
                blames_the_client(&format!("{path} {body}"), request).await;
            }
        }
    }
    let odd = "\u{0}\u{fffe}\u{202e}";
    for body in [
        json!({ "client_name": odd, "redirect_uris": ["http://localhost/cb"] }),
        json!({ "client_name": "x", "redirect_uris": [odd] }),
        json!({ "redirect_uris": ["http://localhost/cb"], "scope": odd, "software_id": odd }),
        json!({ "redirect_uris": ["http://localhost/cb"], "grant_types": [odd], odd: odd }),
        json!([odd]),
        json!(null),
    ] {
        let request = from_anywhere(web.request(Method::POST, "/register"))
            .header("content-type", "application/json")
            .body(body.to_string());
        blames_the_client(&format!("/register {body}"), request).await;
    }
}

async fn every_call(web: &Web, token: &str) {
    let odd = "\u{0}";
    for (name, arguments) in [
        ("items_create", json!({ "title": odd, "body": odd })),
        ("items_list", json!({ "cursor": odd })),
        ("items_get", json!({ "id": odd })),
        ("items_import", json!({ "titles": [odd] })),
        ("jobs_get", json!({ "id": odd })),
        ("jobs_list", json!({ "cursor": odd })),
        ("jobs_cancel", json!({ "id": odd })),
        (odd, json!({})),
    ] {
        let call = json!({
            "jsonrpc": "2.0", "id": 1, "method": "tools/call",
            "params": {
                "name": name, "arguments": arguments,
                "_meta": {
                    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                    "io.modelcontextprotocol/clientInfo": { "name": odd, "version": odd },
                    "io.modelcontextprotocol/clientCapabilities": {},
                },
            },
        });
        let request = web
            .request(Method::POST, "/mcp")
            .bearer_auth(token)
            .header("content-type", "application/json")
            .header("accept", ACCEPT)
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", "tools/call")
            .header("mcp-name", if name == odd { "x" } else { name })
            .body(call.to_string());
        let page = Page::read(request).await;
        assert!(!page.status.is_server_error(), "{name}: {}", page.text());
        assert!(!page.text().contains("-32603"), "{name}: {}", page.text());
        assert!(!page.text().contains("error of the server"), "{name}: {}", page.text());
    }
}

async fn nothing_a_client_sends_is_a_failure_of_the_server(database: Database) {
    let github = GitHub::start().await;
    let setup = Setup::new(database).workers(1).with_github(&github);
    let setup = setup.with("RATE_LIMIT_PER_MINUTE", "0");
    let cluster: Cluster = setup.start().await;
    let web = cluster.web(0);
    every_path(web).await;
    every_form(web).await;
    every_call(web, &cluster.token("ada").await).await;
}

on_both_databases!(nothing_a_client_sends_is_a_failure_of_the_server);
