//! The edges of HTTP: who is let in, from which page, with what kind of body.

use std::time::Duration;

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tests::{
    client::{ACCEPT, Page},
    cluster::{Cluster, Database, Setup},
    schema::Revision,
};

/// A body that anybody may send.
const INITIALIZE: &str = r#"{
    "jsonrpc": "2.0", "id": 1, "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25", "capabilities": {},
        "clientInfo": { "name": "tests", "version": "1" }
    }
}"#;

/// A request that would be served.
fn good(cluster: &Cluster, token: &str) -> RequestBuilder {
    cluster.web(0).post(token, INITIALIZE)
}

/// Every refusal is JSON that says what to do.
fn explained(page: &Page) {
    let body = page.json();
    let sentence = body["error_description"]
        .as_str()
        .or_else(|| body["error"]["message"].as_str())
        .unwrap_or_else(|| panic!("no explanation: {body:#}"));
    assert!(sentence.len() > 10, "{sentence}");
}

#[tokio::test]
async fn without_a_good_token_nobody_gets_in_and_everybody_learns_how() {
    let cluster = Cluster::on_postgres(2).await;
    let web = cluster.web(0);
    let token = cluster.token("ada").await;
    let other_server = Setup::new(Database::Sqlite).start().await.token("ada").await;
    let expired = cluster.token("bob").await;
    cluster.clock().advance(Duration::from_hours(2));
    let fresh = cluster.token("ada").await;

    let mut forged = fresh.clone();
    let changed = if forged.pop() == Some('A') { "Q" } else { "A" };
    forged.push_str(changed);
    let metadata =
        format!(r#"resource_metadata="{}/.well-known/oauth-protected-resource/mcp""#, web.origin());
    for method in [Method::POST, Method::GET, Method::DELETE] {
        let request = || {
            web.request(method.clone(), "/mcp")
                .header("content-type", "application/json")
                .header("accept", ACCEPT)
        };
        // What is wrong with the body is nobody's business before the token is.
        let without = Page::read(request().body("not JSON")).await;
        assert_eq!(without.status, 401, "{method}");
        let challenge = without.header("www-authenticate");
        assert!(challenge.starts_with("Bearer ") && challenge.contains(&metadata), "{challenge}");
        assert!(challenge.contains("scope=\""), "{challenge}");
        assert!(!challenge.contains("error="), "who sent no token made no mistake: {challenge}");
        explained(&without);

        for wrong in [&forged, &other_server, &expired, &token, &"x.y.z".to_owned()] {
            let page = Page::read(request().bearer_auth(wrong)).await;
            assert_eq!(page.status, 401, "{method}: {}", page.text());
            let challenge = page.header("www-authenticate");
            assert!(challenge.contains(r#"error="invalid_token""#), "{challenge}");
            assert!(challenge.contains(&metadata), "{challenge}");
            explained(&page);
        }
    }
    let in_query = web
        .request(Method::POST, &format!("/mcp?access_token={fresh}"))
        .header("content-type", "application/json")
        .header("accept", ACCEPT)
        .body("{}");
    assert_eq!(Page::read(in_query).await.status, 401);
    assert_eq!(Page::read(good(&cluster, &fresh)).await.status, 200);
    let elsewhere = cluster.web(1).modern(&fresh).call("tools/list", Value::Null).await;
    assert_eq!(elsewhere.status, 200, "a key of one instance is known to the others");
}

#[tokio::test]
async fn a_foreign_page_or_name_is_refused() {
    let cluster =
        Setup::new(Database::Sqlite).with("ALLOWED_ORIGINS", "https://app.example.com").start();
    let cluster = cluster.await;
    let token = cluster.token("ada").await;
    let own = cluster.web(0).origin().to_owned();
    let port = own.rsplit(':').next().unwrap().to_owned();

    for origin in ["https://evil.example.com", "null", "http://app.example.com", "file://", "*"] {
        let page = Page::read(good(&cluster, &token).header("origin", origin)).await;
        assert_eq!(page.status, 403, "{origin}");
        assert_eq!(page.header("access-control-allow-origin"), "", "{origin}");
        explained(&page);
    }
    for origin in [own.clone(), "https://app.example.com".to_owned()] {
        let page = Page::read(good(&cluster, &token).header("origin", &origin)).await;
        assert_eq!(page.status, 200, "{origin}: {}", page.text());
        assert_eq!(page.header("access-control-allow-origin"), origin);
        let exposed = page.header("access-control-expose-headers").to_lowercase();
        assert!(exposed.contains("mcp-session-id") && exposed.contains("www-authenticate"));
        let refused = cluster.web(0).request(Method::POST, "/mcp").header("origin", &origin);
        let refused = Page::read(refused).await;
        assert_eq!(refused.status, 401);
        assert_eq!(refused.header("access-control-allow-origin"), origin, "so that it can be read");
    }
    for host in [format!("evil.example.com:{port}"), "notes.example.com".to_owned()] {
        let page = Page::read(good(&cluster, &token).header("host", &host)).await;
        assert_eq!(page.status, 421, "{host}");
        explained(&page);
    }
    let localhost = good(&cluster, &token).header("host", format!("localhost:{port}"));
    assert_eq!(Page::read(localhost).await.status, 200);
}

#[tokio::test]
async fn a_body_must_be_json_of_a_reasonable_size() {
    let cluster = Cluster::on_sqlite(1).await;
    let web = cluster.web(0);
    let token = cluster.token("ada").await;
    let sent_as = async |kind: &str, accept: &str| {
        let request = web
            .request(Method::POST, "/mcp")
            .bearer_auth(&token)
            .header("content-type", kind)
            .header("accept", accept)
            .body(INITIALIZE);
        Page::read(request).await.status.as_u16()
    };
    for (kind, status) in [
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("application/json; charset=utf-8", 200),
        ("Application/JSON", 200),
    ] {
        assert_eq!(sent_as(kind, ACCEPT).await, status, "{kind}");
    }
    for (accept, status) in [
        ("text/html", 406),
        ("application/json", 200),
        ("text/event-stream, application/json", 200),
        ("*/*", 200),
    ] {
        assert_eq!(sent_as("application/json", accept).await, status, "{accept}");
    }
    let mebibyte = 1 << 20;
    let fits = Page::read(web.post(&token, " ".repeat(4 * mebibyte))).await;
    assert_eq!(fits.status, 400, "read, and not JSON");
    assert_eq!(fits.json()["error"]["code"], -32700);
    let too_large = Page::read(web.post(&token, " ".repeat(4 * mebibyte + 1))).await;
    assert_eq!(too_large.status, 413);
    explained(&too_large);
}

#[tokio::test]
async fn what_is_no_json_rpc_is_explained() {
    let cluster = Cluster::on_sqlite(1).await;
    let token = cluster.token("ada").await;
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    for (body, code) in [
        ("", -32700),
        ("{", -32700),
        ("not JSON", -32700),
        // JSON, as far as anybody looks into it.
        (deep.as_str(), -32600),
        ("7", -32600),
        ("null", -32600),
        ("{}", -32600),
        (r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":7}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#, -32600),
    ] {
        let page = Page::read(cluster.web(0).post(&token, body.to_owned())).await;
        assert_eq!(page.status, 400, "{body:.60}: {}", page.text());
        let got = page.json()["error"]["code"].as_i64().unwrap();
        assert_eq!(got, code, "{body:.60}");
    }
}

#[tokio::test]
async fn a_path_takes_the_methods_it_names() {
    let cluster = Cluster::on_sqlite(1).await;
    let web = cluster.web(0);
    let token = cluster.token("ada").await;
    for (method, path, status) in [
        (Method::PUT, "/mcp", 405),
        (Method::PATCH, "/mcp", 405),
        (Method::POST, "/healthz", 405),
        (Method::DELETE, "/.well-known/jwks.json", 405),
        (Method::GET, "/nothing/here", 404),
        (Method::PUT, "/mcp/", 405),
        (Method::GET, "/mcp//", 404),
    ] {
        let page = Page::read(web.request(method.clone(), path).bearer_auth(&token)).await;
        assert_eq!(page.status, status, "{method} {path}");
        assert_eq!(page.header("allow").is_empty(), status == 404, "{method} {path}");
        explained(&page);
    }
}

#[tokio::test]
async fn the_way_in_is_published() {
    let cluster = Cluster::on_postgres(1).await;
    let web = cluster.web(0);
    for path in
        ["/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource/mcp"]
    {
        let document = web.get(path).await;
        assert_eq!(document.status, 200, "{path}");
        assert_eq!(document.json()["resource"], web.mcp());
        assert!(!document.json()["authorization_servers"].as_array().unwrap().is_empty());
        assert_eq!(document.header("access-control-allow-origin"), "*");
    }
    // A key is published once it signs.
    cluster.token("ada").await;
    let keys = web.get("/.well-known/jwks.json").await.json();
    for key in keys["keys"].as_array().unwrap() {
        assert_eq!((&key["kty"], &key["crv"]), (&json!("EC"), &json!("P-256")));
        assert_eq!(key.get("d"), None, "the private half stays here");
    }
    assert_eq!(web.get("/healthz").await.status, 200);
    assert_eq!(web.get("/livez").await.status, 200);
}

#[tokio::test]
async fn a_token_that_expires_closes_the_streams_it_opened() {
    let cluster = Cluster::on_sqlite(1).await;
    let brief = cluster.brief_token("ada", Duration::from_secs(3)).await;
    let filter = json!({ "toolsListChanged": true });
    let (mut listening, _) = cluster.web(0).modern(&brief).listen(filter).await;
    let ada = cluster.web(0).legacy(&brief, Revision::November2025).await;
    let mut standalone = ada.listen().await;
    listening.rest().await;
    standalone.rest().await;
}

#[tokio::test]
async fn a_session_outlives_a_token_that_expires() {
    let cluster = Cluster::on_sqlite(1).await;
    let token = cluster.token("ada").await;
    let ada = cluster.web(0).legacy(&token, Revision::November2025).await;
    assert_eq!(ada.call("ping", Value::Null).await.status, 200);
    cluster.clock().advance(Duration::from_hours(2));
    let late = ada.send_on_purpose(&ada.body("ping", Value::Null)).await;
    assert_eq!(late.status, 401);
    let renewed = ada.presented_with(cluster.token("ada").await);
    assert_eq!(renewed.call("ping", Value::Null).await.status, 200, "the session is still there");
}
