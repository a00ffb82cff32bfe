//! Every revision is negotiated and served as its own text has it.

use serde_json::{Value, json};
use tests::{client::Page, cluster::Cluster, schema::Revision};

const NEWEST_LEGACY: &str = "2025-11-25";

#[tokio::test]
async fn every_earlier_revision_is_negotiated_and_served() {
    let cluster = Cluster::embedded().await;
    for revision in Revision::LEGACY {
        let ada = cluster.web(0).legacy(cluster.token("ada").await, revision).await;
        assert_eq!(ada.call("ping", Value::Null).await.result(), &json!({}));

        let created = ada.tool("notes_create", json!({ "title": "Tea", "body": "Green" })).await;
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
    let cluster = Cluster::embedded().await;
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
    let cluster = Cluster::embedded().await;
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
    let cluster = Cluster::embedded().await;
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
    let cluster = Cluster::embedded().await;
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
    let cluster = Cluster::embedded().await;
    let ada = cluster.web(0).modern(cluster.token("ada").await);
    let wrong = [
        ("mcp-protocol-version", "2025-11-25"),
        ("mcp-protocol-version", "v999.0.0"),
        ("mcp-method", "tools/list"),
        ("mcp-method", "TOOLS/CALL"),
        ("mcp-name", "notes_get"),
        ("mcp-name", "=?base64?bm90ZXNfbGlzd?="),
    ];
    for (header, value) in wrong {
        let refused = ada.with_header(header, value).tool("notes_list", json!({})).await;
        assert_eq!((refused.status.as_u16(), refused.code()), (400, -32020), "{header}: {value}");
    }
    let encoded = "=?base64?bm90ZXNfbGlzdA==?=";
    for (header, value) in [("mcp-name", encoded), ("mcp-name", " notes_list ")] {
        let served = ada.with_header(header, value).tool("notes_list", json!({})).await;
        assert_eq!(served.status, 200, "{header}: {value}");
    }
}

#[tokio::test]
async fn a_modern_request_without_its_envelope_is_told_what_is_missing() {
    let cluster = Cluster::embedded().await;
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
    let cluster = Cluster::embedded().await;
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
