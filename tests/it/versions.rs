//! Every protocol revision is negotiated and served as its specification requires.

use serde_json::{Value, json};
use tests::{client::Page, cluster::Cluster, schema::Revision};

const NEWEST_LEGACY: &str = "2025-11-25";

#[tokio::test]
async fn every_earlier_revision_is_negotiated_and_served() {
    let cluster = Cluster::on_sqlite(1).await;
    for revision in Revision::LEGACY {
        let ada = cluster.web(0).legacy(cluster.token("ada").await, revision).await;
        assert_eq!(ada.call("ping", Value::Null).await.result(), &json!({}));

        let created = ada.tool("items_create", json!({ "title": "Tea", "body": "Green" })).await;
        let result = created.result();
        assert!(result["content"][0]["text"].as_str().unwrap().contains("Tea"));
        assert_eq!(
            result.get("structuredContent").is_some(),
            revision >= Revision::June2025,
            "structured content came with 2025-06-18: {revision}"
        );
    }
}

#[tokio::test]
async fn a_revision_shows_no_field_that_came_later() {
    let cluster = Cluster::on_sqlite(1).await;
    for revision in Revision::LEGACY {
        let ada = cluster.web(0).legacy(cluster.token("ada").await, revision).await;
        let has = |value: &Value, key| value.get(key).is_some();

        let tools = ada.call("tools/list", Value::Null).await;
        for tool in tools.result()["tools"].as_array().unwrap() {
            assert!(has(tool, "annotations"), "since 2025-03-26");
            assert_eq!(has(tool, "title"), revision >= Revision::June2025, "{revision}: {tool}");
            assert!(revision >= Revision::June2025 || !has(tool, "outputSchema"), "{tool}");
            assert!(revision >= Revision::November2025 || !has(tool, "icons"), "{tool}");
        }
        let server = &ada.hello()["serverInfo"];
        assert!(revision >= Revision::June2025 || !has(server, "title"), "{server}");
        assert!(revision >= Revision::November2025 || !has(server, "icons"), "{server}");
        let prompts = ada.call("prompts/list", Value::Null).await;
        for prompt in prompts.result()["prompts"].as_array().unwrap() {
            assert!(revision >= Revision::June2025 || !has(prompt, "title"), "{prompt}");
        }
        let capabilities = &ada.hello()["capabilities"];
        assert!(has(capabilities, "completions"), "since 2025-03-26: {capabilities}");
        assert!(!has(capabilities, "extensions"), "since 2026-07-28: {capabilities}");
    }
}

#[tokio::test]
async fn a_client_that_offers_another_version_is_answered_with_the_newest_earlier_one() {
    let cluster = Cluster::on_sqlite(1).await;
    let token = cluster.token("ada").await;
    for offered in ["1999-01-01", "2026-07-28", "2031-01-01", "latest"] {
        let body = json!({
            "jsonrpc": "2.0", "id": 1, "method": "initialize",
            "params": {
                "protocolVersion": offered, "capabilities": {},
                "clientInfo": { "name": "tests", "version": "1" },
            },
        });
        let answer = Page::read(cluster.web(0).post(&token, body.to_string())).await;
        assert_eq!(answer.status, 200, "{offered}: {}", answer.text());
        assert_eq!(answer.json()["result"]["protocolVersion"], NEWEST_LEGACY, "{offered}");
    }
}

#[tokio::test]
async fn the_version_header_of_a_session_must_be_a_version_of_ours() {
    let cluster = Cluster::on_sqlite(1).await;
    let token = cluster.token("ada").await;
    let ada = cluster.web(0).legacy(&token, Revision::November2025).await;
    let ping = json!({ "jsonrpc": "2.0", "id": 7, "method": "ping" }).to_string();
    let with_version = |version: Option<&'static str>| {
        let request =
            cluster.web(0).post(&token, ping.clone()).header("mcp-session-id", ada.session());
        match version {
            Some(version) => request.header("mcp-protocol-version", version),
            None => request,
        }
    };
    assert_eq!(Page::read(with_version(Some("1999-01-01"))).await.status, 400);
    assert_eq!(Page::read(with_version(None)).await.status, 200, "2025-03-26 had no such header");
}

#[tokio::test]
async fn a_modern_client_learns_what_is_spoken_here() {
    let cluster = Cluster::on_sqlite(1).await;
    let ada = cluster.web(0).modern(cluster.token("ada").await);
    let discovered = ada.call("server/discover", Value::Null).await;
    let versions = discovered.result()["supportedVersions"].clone();
    assert_eq!(versions, json!(["2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26"]));
    assert!(discovered.result()["capabilities"].get("tasks").is_none(), "a slot of the past");

    let strange = "v999.0.0";
    let refused = ada
        .with_meta("io.modelcontextprotocol/protocolVersion", json!(strange))
        .with_header("mcp-protocol-version", strange)
        .call("tools/list", Value::Null)
        .await;
    assert_eq!((refused.status.as_u16(), refused.code()), (400, -32022));
    assert_eq!(refused.message["error"]["data"]["requested"], strange);
    assert_eq!(refused.message["error"]["data"]["supported"], versions);
}

#[tokio::test]
async fn a_modern_request_says_the_same_in_its_headers_and_in_its_body() {
    let cluster = Cluster::on_sqlite(1).await;
    let ada = cluster.web(0).modern(cluster.token("ada").await);
    let wrong = [
        ("mcp-protocol-version", "2025-11-25"),
        ("mcp-protocol-version", "v999.0.0"),
        ("mcp-method", "tools/list"),
        ("mcp-method", "TOOLS/CALL"),
        ("mcp-name", "items_get"),
        ("mcp-name", "=?base64?aXRlbXNfbGlzd?="),
    ];
    for (header, value) in wrong {
        let refused = ada.with_header(header, value).tool("items_list", json!({})).await;
        assert_eq!((refused.status.as_u16(), refused.code()), (400, -32020), "{header}: {value}");
    }
    let encoded = "=?base64?aXRlbXNfbGlzdA==?=";
    for (header, value) in [("mcp-name", encoded), ("mcp-name", " items_list ")] {
        let served = ada.with_header(header, value).tool("items_list", json!({})).await;
        assert_eq!(served.status, 200, "{header}: {value}");
    }
}

#[tokio::test]
async fn a_modern_request_without_its_envelope_is_told_what_is_missing() {
    let cluster = Cluster::on_sqlite(1).await;
    let ada = cluster.web(0).modern(cluster.token("ada").await);
    for key in ["protocolVersion", "clientCapabilities"] {
        let name = format!("io.modelcontextprotocol/{key}");
        let mut body = ada.body("tools/list", Value::Null);
        body["params"]["_meta"].as_object_mut().unwrap().remove(&name);
        let refused = ada.send_on_purpose(&body).await;
        assert_eq!((refused.status.as_u16(), refused.code()), (400, -32602), "{key}");
        assert!(refused.message["error"]["message"].as_str().unwrap().contains(&name), "{key}");
    }
    let anonymous = ada.with_meta("io.modelcontextprotocol/clientInfo", Value::Null);
    assert_eq!(anonymous.call("tools/list", Value::Null).await.status, 200);
}

#[tokio::test]
async fn what_a_revision_does_not_know_is_not_found() {
    let cluster = Cluster::on_sqlite(1).await;
    let token = cluster.token("ada").await;
    let modern = cluster.web(0).modern(&token);
    for method in [
        "initialize",
        "ping",
        "logging/setLevel",
        "resources/subscribe",
        "resources/unsubscribe",
        "tasks/result",
        "tasks/list",
        "unknown/method",
        "",
    ] {
        let refused = modern.send_on_purpose(&modern.body(method, Value::Null)).await;
        assert_eq!((refused.status.as_u16(), refused.code()), (404, -32601), "`{method}`");
    }
    let legacy = cluster.web(0).legacy(&token, Revision::November2025).await;
    for method in ["server/discover", "subscriptions/listen", "unknown/method"] {
        let refused = legacy.send_on_purpose(&legacy.body(method, Value::Null)).await;
        assert_eq!(refused.status, 200, "in a session only the body says it");
        assert_eq!(refused.json()["error"]["code"], -32601, "`{method}`");
    }
}

/// Sends `initialize` with these additional parameters, and returns the session.
async fn shaken(cluster: &Cluster, token: &str, own: &str) -> String {
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"initialize","params":{{"protocolVersion":"2025-11-25"{own}}}}}"#
    );
    let page = Page::read(cluster.web(0).post(token, body)).await;
    let answer = page.json();
    assert_eq!(answer["result"]["protocolVersion"], NEWEST_LEGACY, "{own}: {answer}");
    page.header("mcp-session-id").to_owned()
}

/// Calls a tool that asks its user if possible, and returns the response up to the first message.
async fn deletes(cluster: &Cluster, token: &str, session: &str, id: &Value) -> String {
    let body = json!({
        "jsonrpc": "2.0", "id": 2, "method": "tools/call",
        "params": { "name": "items_delete", "arguments": { "id": id } },
    });
    let request = cluster.web(0).post(token, body.to_string()).header("mcp-session-id", session);
    let mut response = request.send().await.unwrap();
    let mut text = String::new();
    while !text.contains("elicitation/create") && !text.contains("\"result\"") {
        let Some(chunk) = response.chunk().await.unwrap() else { break };
        text.push_str(&String::from_utf8_lossy(&chunk));
    }
    text
}

#[tokio::test]
async fn nothing_that_a_client_says_about_itself_refuses_a_session() {
    let cluster = Cluster::on_sqlite(1).await;
    let token = cluster.token("ada").await;
    let deep = format!("{}{}", "[".repeat(300), "]".repeat(300));
    let long = format!(r#"{{"name":"{}","version":"1"}}"#, "x".repeat(100_000));
    for info in [
        "null",
        "[]",
        "\"client\"",
        "7",
        "{}",
        r#"{"name":"c"}"#,
        r#"{"name":null,"version":null}"#,
        r#"{"name":["c"],"version":{}}"#,
        r#"{"name":"c","version":1.5}"#,
        r#"{"name":"\ud83d","version":"1"}"#,
        r#"{"name":"c","version":"1","icons":null}"#,
        r#"{"name":"c","version":"1","icons":{}}"#,
        r#"{"name":"c","version":"1","icons":[{"src":"x","sizes":"48x48"}]}"#,
        r#"{"name":"c","version":"1","icons":[null,{"sizes":[48]}],"title":7,"websiteUrl":null}"#,
        r#"{"name":"c","name":"d","version":"1"}"#,
        &format!(r#"{{"name":"c","version":"1","extra":{deep}}}"#),
        &long,
    ] {
        let own = format!(r#","capabilities":{{}},"clientInfo":{info}"#);
        let session = shaken(&cluster, &token, &own).await;
        let list = json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/list" }).to_string();
        let request = cluster.web(0).post(&token, list).header("mcp-session-id", session);
        assert_eq!(Page::read(request).await.status, 200, "{info:.100}");
    }
}

#[tokio::test]
async fn capabilities_of_any_shape_are_taken_for_what_they_mean_in_both_eras() {
    let cluster = Cluster::on_sqlite(1).await;
    let token = cluster.token("ada").await;
    let ada = cluster.web(0).modern(&token);
    for (declared, asks) in [
        ("null", false),
        ("[]", false),
        ("true", false),
        ("\"all\"", false),
        ("{}", false),
        (r#"{"elicitation":null}"#, false),
        (r#"{"elicitation":false}"#, false),
        (r#"{"elicitation":true}"#, true),
        (r#"{"elicitation":[]}"#, true),
        (r#"{"elicitation":{}}"#, true),
        (r#"{"elicitation":"form"}"#, true),
        (r#"{"elicitation":{"form":true}}"#, true),
        (r#"{"elicitation":{"form":null,"url":null}}"#, false),
        (r#"{"elicitation":{"form":false}}"#, false),
        (r#"{"elicitation":{"form":[],"url":[]}}"#, true),
        (r#"{"elicitation":{"url":{}}}"#, false),
        (r#"{"elicitation":{},"sampling":true,"roots":[],"extensions":[],"tasks":7}"#, true),
        (r#"{"extensions":{"a":null},"experimental":null,"roots":{"listChanged":"yes"}}"#, false),
    ] {
        let item = json!({ "title": "Tea", "body": "" });
        let id = ada.tool("items_create", item.clone()).await.output()["id"].clone();
        let session = shaken(&cluster, &token, &format!(r#","capabilities":{declared}"#)).await;
        let answered = deletes(&cluster, &token, &session, &id).await;
        assert_eq!(answered.contains("elicitation/create"), asks, "{declared}: {answered}");

        let id = ada.tool("items_create", item).await.output()["id"].clone();
        let params = json!({ "name": "items_delete", "arguments": { "id": id } });
        let mut body = ada.body("tools/call", params);
        let capabilities: Value = serde_json::from_str(declared).unwrap();
        body["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"] = capabilities;
        let answered = ada.send_on_purpose(&body).await;
        let asked = answered.result()["resultType"] == "input_required";
        assert_eq!(asked, asks, "{declared}: {:#}", answered.message);
    }
    shaken(&cluster, &token, "").await;
}
