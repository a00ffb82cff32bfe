//! The experimental tasks of 2025-11-25.

use serde_json::{Value, json};
use tests::{fixtures::at_gate, schema::Revision};

use super::{accept, cluster, legacy_task, until_legacy};

const REVISION: Revision = Revision::November2025;

fn related(message: &Value) -> &Value {
    &message["_meta"]["io.modelcontextprotocol/related-task"]["taskId"]
}

#[tokio::test]
async fn tasks_are_offered_to_sessions_of_one_revision_only() {
    let cluster = cluster(1, 0).await;
    for revision in Revision::LEGACY {
        let ada = cluster.web(0).legacy(cluster.token("ada").await, revision).await;
        let offered = revision == REVISION;
        assert_eq!(ada.hello()["capabilities"].get("tasks").is_some(), offered, "{revision}");
        let listed = ada.call("tools/list", json!({})).await;
        let tools = listed.result()["tools"].as_array().unwrap().clone();
        let support = |name: &str| {
            let tool = tools.iter().find(|tool| tool["name"] == name).unwrap();
            tool["execution"]["taskSupport"].as_str().map(str::to_owned)
        };
        assert_eq!(support("slow_compute").as_deref(), offered.then_some("optional"));
        assert_eq!(support("failing_job").as_deref(), offered.then_some("required"));
        assert_eq!(support("greet"), None);
        let refused = ada.tool("failing_job", json!({})).await;
        assert_eq!(refused.code(), -32601, "{revision}: it needs a task");
    }
}

#[tokio::test]
async fn the_result_of_a_task_waits_for_whoever_asks_for_it() {
    let cluster = cluster(3, 1).await;
    let ada = cluster.web(0).legacy(cluster.token("ada").await, REVISION).await;
    let id = legacy_task(&ada, at_gate("test_job_gate", "a", 1)).await;
    let elsewhere = ada.at(cluster.web(1));
    let mut waiting = elsewhere.open("tasks/result", json!({ "taskId": id })).await;
    cluster.gate("a").reached(1).await;
    until_legacy(&ada, &id, "working").await;
    cluster.gate("a").step();
    let answer = waiting.message().await;
    let text = "passed 1 times, 0 of them before";
    assert_eq!(answer["result"]["content"][0]["text"], text);
    assert_eq!(related(&answer["result"]), &id);
    // And again, now that it has ended.
    let again = ada.at(cluster.web(2)).call("tasks/result", json!({ "taskId": id })).await;
    assert_eq!(again.text(), text);
    let listed = ada.call("tasks/list", json!({})).await;
    let tasks = listed.result()["tasks"].as_array().unwrap();
    assert!(tasks.iter().any(|task| task["taskId"] == id), "{tasks:#?}");
}

#[tokio::test]
async fn a_task_asks_on_the_stream_of_whoever_waits_for_its_result() {
    let cluster = cluster(3, 1).await;
    let ada = cluster.web(0).legacy(cluster.token("ada").await, REVISION).await;
    let call = json!({ "name": "confirm_delete", "arguments": { "filename": "f" } });
    let id = legacy_task(&ada, call).await;
    until_legacy(&ada, &id, "input_required").await;
    let waits = ada.at(cluster.web(1));
    let mut waiting = waits.open("tasks/result", json!({ "taskId": id })).await;
    let question = waiting.expect("elicitation/create").await;
    assert_eq!(related(&question["params"]), &id);
    let agree = accept(&json!({ "confirm": true }));
    assert_eq!(ada.at(cluster.web(2)).respond(&question, agree).await, 202);
    let answer = waiting.message().await;
    assert_eq!(answer["result"]["content"][0]["text"], "Deleted f");
}

#[tokio::test]
async fn a_tool_that_says_that_it_failed_makes_a_failed_task() {
    let cluster = cluster(1, 1).await;
    let ada = cluster.web(0).legacy(cluster.token("ada").await, REVISION).await;
    let id = legacy_task(&ada, json!({ "name": "failing_job", "arguments": {} })).await;
    until_legacy(&ada, &id, "failed").await;
    let result = ada.call("tasks/result", json!({ "taskId": id })).await;
    assert!(result.tool_error().contains("on purpose"));
}

#[tokio::test]
async fn a_task_is_cancelled_at_once_and_only_once_and_only_by_its_user() {
    let cluster = cluster(2, 1).await;
    let ada = cluster.web(0).legacy(cluster.token("ada").await, REVISION).await;
    let bob = cluster.web(0).legacy(cluster.token("bob").await, REVISION).await;
    let id = legacy_task(&ada, at_gate("test_job_gate", "a", 1)).await;
    cluster.gate("a").reached(1).await;
    for method in ["tasks/get", "tasks/result", "tasks/cancel"] {
        assert_eq!(bob.call(method, json!({ "taskId": id })).await.code(), -32602, "{method}");
    }
    let listed = bob.call("tasks/list", json!({})).await;
    assert_eq!(listed.result()["tasks"], json!([]));
    let elsewhere = ada.at(cluster.web(1));
    let cancelled = elsewhere.call("tasks/cancel", json!({ "taskId": id })).await;
    assert_eq!(cancelled.result()["status"], "cancelled");
    cluster.gate("a").stopped(1).await;
    assert_eq!(ada.call("tasks/cancel", json!({ "taskId": id })).await.code(), -32602);
}

#[tokio::test]
async fn a_tool_that_is_no_job_cannot_be_a_task() {
    let cluster = cluster(1, 0).await;
    let ada = cluster.web(0).legacy(cluster.token("ada").await, REVISION).await;
    let call = json!({ "name": "greet", "arguments": { "name": "Ada" }, "task": {} });
    assert_eq!(ada.call("tools/call", call).await.code(), -32601);
}
