//! The MCP endpoint as real clients use it: `Accept` headers, paths, and requests without a token.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tests::{
    client::{Page, Web},
    cluster::Cluster,
    schema::Revision,
};

const EVENTS: &str = "text/event-stream";
const JSON: &str = "application/json";

/// The body of `initialize`.
fn initialize() -> Value {
    json!({
        "jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": {
            "protocolVersion": "2025-11-25", "capabilities": {},
            "clientInfo": { "name": "tests", "version": "1" },
        },
    })
}

fn modern(method: &str) -> Value {
    json!({
        "jsonrpc": "2.0", "id": 1, "method": method,
        "params": { "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        } },
    })
}

/// Sends a POST with these values of `Accept`.
fn post(web: &Web, path: &str, token: &str, accept: &[&str], body: &Value) -> RequestBuilder {
    let mut request = web
        .request(Method::POST, path)
        .bearer_auth(token)
        .header("content-type", JSON)
        .body(body.to_string());
    for value in accept {
        request = request.header("accept", *value);
    }
    match body.pointer("/params/_meta") {
        None => request,
        Some(_) => request
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", body["method"].as_str().unwrap()),
    }
}

/// Returns the only message of a response, and its content type without parameters.
fn message(page: &Page) -> (String, Value) {
    let kind = page.header("content-type").split(';').next().unwrap().to_owned();
    let text = page.text();
    if kind != EVENTS {
        return (kind, page.json());
    }
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    let data: Vec<&str> = data.filter(|data| !data.is_empty()).collect();
    assert_eq!(data.len(), 1, "{text}");
    (kind, serde_json::from_str(data[0]).unwrap())
}

#[tokio::test]
async fn a_client_gets_the_kind_of_answer_that_it_accepts() {
    let cluster = Cluster::on_sqlite(1).await;
    let (web, token) = (cluster.web(0), cluster.token("ada").await);
    for (accept, expected) in [
        (&[EVENTS][..], EVENTS),
        (&["text/*"], EVENTS),
        (&["text/event-stream, application/json;q=0"], EVENTS),
        (&["*/*, application/json; q=0.0"], EVENTS),
        (&[JSON], JSON),
        (&["application/*;q=0.1"], JSON),
        (&["application/json, text/event-stream;q=0"], JSON),
        (&["application/json", "text/event-stream"], JSON),
        (&["*/*"], JSON),
        (&[""], JSON),
        (&[], JSON),
    ] {
        let hello = Page::read(post(web, "/mcp", &token, accept, &initialize())).await;
        assert_eq!(hello.status, 200, "{accept:?}: {}", hello.text());
        let (kind, answer) = message(&hello);
        assert_eq!(kind, expected, "{accept:?}");
        assert_eq!(answer["result"]["protocolVersion"], "2025-11-25", "{accept:?}");
        let session = hello.header("mcp-session-id").to_owned();
        let call = |method: &str, params: Value| {
            let body = json!({ "jsonrpc": "2.0", "id": 2, "method": method, "params": params });
            Page::read(post(web, "/mcp", &token, accept, &body).header("mcp-session-id", &session))
        };
        for (method, params, place) in [
            ("tools/list", json!({}), "/result/tools"),
            ("ping", json!({}), "/result"),
            ("resources/list", json!({}), "/result/resources"),
            ("tools/call", json!({ "name": "items_list", "arguments": {} }), "/result/content"),
            ("no/such/method", json!({}), "/error/code"),
            ("tools/call", json!({ "name": "nothing" }), "/error/code"),
        ] {
            let page = call(method, params).await;
            assert_eq!(page.status, 200, "{accept:?} {method}: {}", page.text());
            let (kind, answer) = message(&page);
            assert_eq!(kind, expected, "{accept:?} {method}");
            assert!(answer.pointer(place).is_some(), "{accept:?} {method}: {answer:#}");
        }
        for method in ["server/discover", "tools/list", "resources/list"] {
            let page = Page::read(post(web, "/mcp", &token, accept, &modern(method))).await;
            assert_eq!(page.status, 200, "{accept:?} {method}: {}", page.text());
            let (kind, answer) = message(&page);
            assert_eq!(kind, expected, "{accept:?} {method}");
            assert!(answer.get("result").is_some(), "{accept:?} {method}: {answer:#}");
        }
    }
}

#[tokio::test]
async fn what_no_client_accepts_is_refused() {
    let cluster = Cluster::on_sqlite(1).await;
    let (web, token) = (cluster.web(0), cluster.token("ada").await);
    for accept in ["text/html", "*/*;q=0", "application/json;q=0, text/event-stream;q=0"] {
        for body in [initialize(), modern("tools/list")] {
            let page = Page::read(post(web, "/mcp", &token, &[accept], &body)).await;
            assert_eq!(page.status, 406, "{accept}: {}", page.text());
        }
    }
    let ada = web.legacy(&token, Revision::November2025).await;
    for (accept, status) in [
        ("text/event-stream", 200),
        ("*/*", 200),
        ("application/json", 406),
        ("*/*, text/event-stream;q=0", 406),
    ] {
        let request = web
            .request(Method::GET, "/mcp")
            .bearer_auth(&token)
            .header("mcp-session-id", ada.session())
            .header("accept", accept);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), status, "{accept}");
    }
}

#[tokio::test]
async fn an_error_of_http_is_json_whatever_the_client_accepts() {
    let cluster = Cluster::on_sqlite(1).await;
    let token = cluster.token("ada").await;
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" });
    let page = Page::read(post(cluster.web(0), "/mcp", &token, &[EVENTS], &body)).await;
    assert_eq!(page.status, 400, "it has no session");
    assert_eq!(message(&page).0, JSON);
}

#[tokio::test]
async fn the_endpoint_is_served_with_a_slash_at_its_end_too() {
    let cluster = Cluster::on_sqlite(1).await;
    let (web, token) = (cluster.web(0), cluster.token("ada").await);
    let hello = Page::read(post(web, "/mcp/", &token, &[JSON, EVENTS], &initialize())).await;
    assert_eq!(hello.status, 200, "{}", hello.text());
    let session = hello.header("mcp-session-id");
    let list = json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/list" });
    let list = post(web, "/mcp/", &token, &[JSON, EVENTS], &list).header("mcp-session-id", session);
    assert_eq!(Page::read(list).await.status, 200);
    let request = |method: Method| {
        web.request(method, "/mcp/")
            .bearer_auth(&token)
            .header("accept", EVENTS)
            .header("mcp-session-id", session)
    };
    assert_eq!(request(Method::GET).send().await.unwrap().status(), 200);
    assert_eq!(Page::read(request(Method::DELETE)).await.status, 204);
    let discover = post(web, "/mcp/", &token, &[JSON], &modern("server/discover"));
    assert_eq!(Page::read(discover).await.status, 200);
    let preflight = web
        .request(Method::OPTIONS, "/mcp/")
        .header("origin", web.origin())
        .header("access-control-request-method", "POST");
    assert!(Page::read(preflight).await.status.is_success());
}

#[tokio::test]
async fn each_way_to_write_the_endpoint_has_metadata_that_names_it_so() {
    let cluster = Cluster::on_sqlite(1).await;
    let web = cluster.web(0);
    for path in ["/mcp", "/mcp/"] {
        let refused = Page::read(web.request(Method::POST, path)).await;
        assert_eq!(refused.status, 401, "{path}");
        let metadata = format!("{}/.well-known/oauth-protected-resource{path}", web.origin());
        let challenge = refused.header("www-authenticate");
        let named = format!(r#"resource_metadata="{metadata}""#);
        assert!(challenge.contains(&named), "{path}: {challenge}");
        let document = web.get(metadata.strip_prefix(web.origin()).unwrap()).await;
        assert_eq!(document.status, 200, "{path}");
        assert_eq!(document.header("access-control-allow-origin"), "*", "{path}");
        assert_eq!(document.json()["resource"], format!("{}{path}", web.origin()));
    }
}

#[tokio::test]
async fn an_authorization_that_holds_no_token_begins_the_sign_in() {
    let cluster = Cluster::on_sqlite(1).await;
    let web = cluster.web(0);
    for (values, is_a_mistake) in [
        (&[""][..], false),
        (&["Bearer"], false),
        (&["Bearer "], false),
        (&["bearer   "], false),
        (&["Basic YTpi"], false),
        (&["Token abc"], false),
        (&["abc.def.ghi"], false),
        (&["Bearer ${TOKEN}"], true),
        (&["Bearer $TOKEN"], true),
        (&["Bearer <your token>"], true),
        (&["Bearer undefined"], true),
        (&["Bearer null"], true),
        (&["Bearer \"quoted\""], true),
        (&["Bearer a b"], true),
        (&["Bearer Bearer a"], true),
        (&["Bearer a, Bearer a"], true),
        (&["Bearer =="], true),
        (&["Bearer a", "Bearer b"], true),
    ] {
        for method in [Method::POST, Method::GET, Method::DELETE] {
            let mut request = web.request(method.clone(), "/mcp").header("accept", EVENTS);
            for value in values {
                request = request.header("authorization", *value);
            }
            let page = Page::read(request).await;
            assert_eq!(page.status, 401, "{method} {values:?}: {}", page.text());
            let challenge = page.header("www-authenticate");
            for part in ["Bearer ", "resource_metadata=", "scope="] {
                assert!(challenge.contains(part), "{values:?}: no {part} in {challenge}");
            }
            let error = challenge.contains(r#"error="invalid_token""#);
            assert_eq!(error, is_a_mistake, "{values:?}: {challenge}");
            assert!(page.json()["error_description"].as_str().unwrap().len() > 10);
        }
    }
}
