//! Duplicates of single-value headers are rejected: a proxy and this server could act on different values.

use reqwest::{
    Method, RequestBuilder,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use serde_json::{Value, json};
use tests::{
    client::{ACCEPT, Page},
    cluster::{Cluster, Database, Setup},
    schema::Revision,
};

async fn two_instances() -> Cluster {
    Setup::new(Database::Sqlite).instances(2).start().await
}

/// Duplicates one of the headers.
fn with(headers: &HeaderMap, name: &str, value: &str) -> HeaderMap {
    let mut headers = headers.clone();
    headers.append(HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value).unwrap());
    headers
}

/// Replaces the headers of a request: `RequestBuilder::header` cannot repeat all of them.
async fn send(request: RequestBuilder, headers: HeaderMap) -> Page {
    let (client, request) = request.build_split();
    let mut request = request.unwrap();
    *request.headers_mut() = headers;
    Page::read(RequestBuilder::from_parts(client, request)).await
}

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    pairs.iter().fold(HeaderMap::new(), |headers, (name, value)| with(&headers, name, value))
}

/// A JSON-RPC error that names the header.
fn refused(page: &Page, name: &str) {
    assert_eq!(page.status, 400, "{name}: {}", page.text());
    let message = page.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
    assert!(message.contains(name) && message.contains("send it once"), "{name}: {message}");
}

#[tokio::test]
async fn a_modern_request_names_everything_once() {
    let cluster = two_instances().await;
    let token = cluster.token("ada").await;
    let modern = cluster.web(0).modern(&token);
    let arguments = json!({ "name": "items_list", "arguments": {} });
    let body = modern.body("tools/call", arguments);
    let sent = headers(&[
        ("authorization", &format!("Bearer {token}")),
        ("content-type", "application/json"),
        ("accept", ACCEPT),
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "items_list"),
    ]);
    let request = |number| cluster.web(number).request(Method::POST, "/mcp").body(body.to_string());
    for (name, other) in [
        ("mcp-protocol-version", "2025-11-25"),
        ("mcp-method", "tools/list"),
        ("mcp-name", "items_delete"),
    ] {
        let same = sent[name].to_str().unwrap().to_owned();
        for number in 0..2 {
            let twice = send(request(number), with(&sent, name, &same)).await;
            assert_eq!(twice.status, 200, "{name}: {}", twice.text());
            refused(&send(request(number), with(&sent, name, other)).await, name);
            let mut first = sent.clone();
            first.remove(name);
            let first = with(&with(&first, name, other), name, &same);
            refused(&send(request(number), first).await, name);
        }
    }
    for (name, values) in [("mcp-param-title", ["a", "b"]), ("mcp-session-id", ["a", "b"])] {
        let sent = values.iter().fold(sent.clone(), |sent, value| with(&sent, name, value));
        refused(&send(request(0), sent).await, name);
    }
    let several = with(&sent, "accept", "text/plain");
    assert_eq!(send(request(0), several).await.status, 200, "Accept is a list");
}

#[tokio::test]
async fn a_session_is_named_once() {
    let cluster = two_instances().await;
    let token = cluster.token("ada").await;
    let ada = cluster.web(0).legacy(&token, Revision::November2025).await;
    let other = cluster.web(0).legacy(&token, Revision::November2025).await;
    let sent = headers(&[
        ("authorization", &format!("Bearer {token}")),
        ("content-type", "application/json"),
        ("accept", ACCEPT),
        ("mcp-protocol-version", "2025-11-25"),
        ("mcp-session-id", ada.session()),
        ("last-event-id", "x"),
    ]);
    for method in [Method::POST, Method::GET, Method::DELETE] {
        for (name, value) in [
            ("mcp-session-id", other.session()),
            ("mcp-protocol-version", "2025-06-18"),
            ("last-event-id", "y"),
        ] {
            let request = cluster.web(1).request(method.clone(), "/mcp");
            let request = request.body(ada.body("ping", Value::Null).to_string());
            refused(&send(request, with(&sent, name, value)).await, name);
        }
    }
    for session in [&ada, &other] {
        assert_eq!(session.call("ping", Value::Null).await.status, 200, "no session was ended");
    }
}

#[tokio::test]
async fn a_body_has_one_type_at_every_endpoint() {
    let cluster = two_instances().await;
    let token = cluster.token("ada").await;
    let (json, form) = ("application/json", "application/x-www-form-urlencoded");
    for (path, kind, other) in [
        ("/mcp", json, "text/plain"),
        ("/mcp", json, "application/json; charset=utf-8"),
        ("/register", json, form),
        ("/register", form, json),
        ("/token", form, json),
        ("/revoke", form, json),
    ] {
        for number in 0..2 {
            let web = cluster.web(number);
            let mut sent = headers(&[("content-type", kind), ("content-type", other)]);
            if path == "/mcp" {
                sent = with(&sent, "authorization", &format!("Bearer {token}"));
            }
            let page = send(web.request(Method::POST, path).body("{}"), sent).await;
            assert_eq!(page.status, 400, "{path}: {}", page.text());
            let body = page.json();
            let code = body["error"].as_str().unwrap_or_default();
            assert!(["invalid_request", "invalid_client_metadata"].contains(&code), "{body:#}");
            assert!(body["error_description"].as_str().unwrap().len() > 10, "{body:#}");
        }
    }
    let sent = headers(&[
        ("content-type", form),
        ("content-type", json),
        ("sec-fetch-site", "same-origin"),
        ("accept", "text/html"),
    ]);
    for path in ["/account", "/consent"] {
        let page = send(cluster.web(0).request(Method::POST, path).body("a=b"), sent.clone()).await;
        assert!(page.status.is_client_error(), "{path}: {}", page.text());
        assert!(page.header("content-type").starts_with("text/html"), "{path}");
    }
}

#[tokio::test]
async fn a_request_has_one_host_and_comes_from_one_site() {
    let cluster = two_instances().await;
    let web = cluster.web(0);
    let own = web.origin().trim_start_matches("http://").to_owned();
    for other in ["evil.example", own.as_str()] {
        for (method, path) in [(Method::POST, "/mcp"), (Method::POST, "/token")] {
            let sent = headers(&[("host", &own), ("host", other)]);
            let page = send(web.request(method, path), sent).await;
            assert_eq!(page.status, 400, "{path}: {}", page.text());
            assert_eq!(page.json()["error"], "invalid_request");
        }
        let page = send(web.request(Method::GET, "/"), headers(&[("host", &own), ("host", other)]));
        let page = page.await;
        assert_eq!(page.status, 400);
        assert!(page.text().contains("more than one Host"), "{}", page.text());
    }
    let sites = headers(&[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")]);
    let page = send(web.request(Method::POST, "/account"), sites).await;
    assert_eq!(page.status, 403, "{}", page.text());
}
