//! Batches, which exist in 2025-03-26 only.

use reqwest::StatusCode;
use serde_json::{Value, json};
use tests::{
    client::{Legacy, Page, Stream},
    cluster::Cluster,
    schema::Revision,
};

async fn march(cluster: &Cluster) -> Legacy {
    cluster.web(0).legacy(cluster.token("ada").await, Revision::March2025).await
}

/// All answers, in one JSON array or one by one on a stream.
async fn answers(mut stream: Stream) -> Vec<Value> {
    let mut answers = Vec::new();
    for event in stream.rest().await {
        match event.message {
            Some(Value::Array(batch)) => answers.extend(batch),
            Some(message) => answers.push(message),
            None => {}
        }
    }
    answers
}

#[tokio::test]
async fn every_request_of_a_batch_is_answered_once() {
    let cluster = Cluster::on_sqlite(1).await;
    let ada = march(&cluster).await;
    let create = json!({ "name": "items_create", "arguments": { "title": "One", "body": "1" } });
    let batch = [
        ada.body("ping", Value::Null),
        json!({ "jsonrpc": "2.0", "method": "notifications/roots/list_changed" }),
        ada.body("tools/call", create),
        ada.body("tools/call", json!({ "name": "no_such_tool", "arguments": {} })),
    ];
    let answers = answers(ada.batch(&batch).await).await;
    assert_eq!(answers.len(), 3, "a notification has no answer: {answers:#?}");
    for request in [&batch[0], &batch[2], &batch[3]] {
        let found = answers.iter().filter(|answer| answer["id"] == request["id"]).count();
        assert_eq!(found, 1, "{request}");
    }
}

#[tokio::test]
async fn a_tool_that_panics_has_failed_and_the_others_are_answered() {
    let cluster = Cluster::on_sqlite(1).await;
    let ada = march(&cluster).await;
    let call = |tool: &str| ada.body("tools/call", json!({ "name": tool, "arguments": {} }));
    let batch = [call("test_simple_text"), call("test_panic")];
    let answers = answers(ada.batch(&batch).await).await;
    let answer = |to: &Value| answers.iter().find(|it| it["id"] == to["id"]).expect("answered");
    assert!(answer(&batch[0])["result"]["isError"] != true, "{answers:#?}");
    let modern = cluster.web(0).modern(cluster.token("ada").await);
    let alone = modern.tool("test_panic", json!({})).await;
    for result in [&answer(&batch[1])["result"], alone.result()] {
        assert_eq!(result["isError"], true, "{result}");
        let said = result["content"][0]["text"].as_str().unwrap();
        assert!(said.contains("an error of the server"), "{said}");
    }
}

#[tokio::test]
async fn a_batch_of_notifications_is_accepted_without_a_body() {
    let cluster = Cluster::on_sqlite(1).await;
    let ada = march(&cluster).await;
    let notification = json!({ "jsonrpc": "2.0", "method": "notifications/roots/list_changed" });
    let mut stream = ada.batch(&[notification.clone(), notification]).await;
    assert_eq!(stream.status(), StatusCode::ACCEPTED);
    assert_eq!(stream.next().await, None);
}

#[tokio::test]
async fn answers_to_our_questions_may_come_in_a_batch() {
    let cluster = Cluster::on_sqlite(1).await;
    let ada = march(&cluster).await;
    let mut stream = ada
        .open(
            "tools/call",
            json!({
                "name": "test_sampling", "arguments": { "prompt": "Hello" },
            }),
        )
        .await;
    let question = stream.expect("sampling/createMessage").await;
    let answer = json!({
        "jsonrpc": "2.0",
        "id": question["id"],
        "result": {
            "role": "assistant", "model": "m", "content": { "type": "text", "text": "Hi" },
        },
    });
    let mut accepted = ada.batch(&[answer]).await;
    assert_eq!(accepted.status(), StatusCode::ACCEPTED);
    assert_eq!(accepted.next().await, None);
    let result = stream.message().await;
    assert_eq!(result["result"]["content"][0]["text"], "LLM response: Hi");
}

#[tokio::test]
async fn a_batch_is_refused_where_there_are_none() {
    let cluster = Cluster::on_sqlite(1).await;
    let token = cluster.token("ada").await;
    for revision in [Revision::June2025, Revision::November2025] {
        let ada = cluster.web(0).legacy(&token, revision).await;
        let refused = ada.send_on_purpose(&json!([ada.body("ping", Value::Null)])).await;
        assert_eq!(refused.status, 400, "{revision}: {}", refused.text());
        assert_eq!(refused.json()["error"]["code"], -32600, "{revision}");
    }
}

#[tokio::test]
async fn a_batch_without_messages_or_with_a_handshake_is_refused() {
    let cluster = Cluster::on_sqlite(1).await;
    let token = cluster.token("ada").await;
    let ada = march(&cluster).await;
    let empty = ada.send_on_purpose(&json!([])).await;
    assert_eq!((empty.status.as_u16(), &empty.json()["error"]["code"]), (400, &json!(-32600)));

    let initialize = json!({
        "jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": {
            "protocolVersion": "2025-03-26", "capabilities": {},
            "clientInfo": { "name": "tests", "version": "1" },
        },
    });
    let alone = Page::read(cluster.web(0).post(&token, json!([initialize]).to_string())).await;
    assert_eq!(alone.status, 400, "{}", alone.text());
    assert_eq!(alone.header("mcp-session-id"), "", "no session was made");
    let in_session = ada.send_on_purpose(&json!([initialize])).await;
    assert!(
        in_session.status == 400 || in_session.json()[0]["error"].is_object(),
        "{}",
        in_session.text()
    );
}

#[tokio::test]
async fn a_modern_request_is_never_part_of_a_batch() {
    let cluster = Cluster::on_sqlite(1).await;
    let token = cluster.token("ada").await;
    let ada = cluster.web(0).modern(&token);
    let body = json!([ada.body("tools/list", Value::Null)]);
    let refused = Page::read(cluster.web(0).post(&token, body.to_string())).await;
    assert_eq!(refused.status, 400);
    assert_eq!(refused.json()["error"]["code"], -32600);
}
