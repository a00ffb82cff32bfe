//! Cancelling a job: before, while and after it runs, in each way that a client has.

use serde_json::json;
use tests::{fixtures::at_gate, schema::Revision};

use super::{cluster, until};

#[tokio::test]
async fn a_task_is_cancelled_before_it_runs_while_it_runs_and_not_after() {
    let mut cluster = cluster(2, 0).await;
    let ada = cluster.web(0).modern(cluster.token("ada").await).with_tasks();
    let elsewhere = ada.at(cluster.web(1));
    let gate = cluster.gate("a");

    let before = ada.call("tools/call", at_gate("test_job_gate", "a", 1)).await;
    let before = &before.result()["taskId"];
    let cancelled = elsewhere.call("tasks/cancel", json!({ "taskId": before })).await;
    assert_eq!(cancelled.result()["resultType"], "complete");
    until(&ada, before, "cancelled").await;

    cluster.start_worker().await;
    let running = ada.call("tools/call", at_gate("test_job_gate", "a", 1)).await;
    let running = &running.result()["taskId"];
    gate.reached(1).await;
    elsewhere.call("tasks/cancel", json!({ "taskId": running })).await;
    until(&ada, running, "cancelled").await;
    gate.stopped(1).await;

    let done = ada.tool("slow_compute", json!({})).await;
    let done = &done.result()["taskId"];
    until(&ada, done, "completed").await;
    let late = elsewhere.call("tasks/cancel", json!({ "taskId": done })).await;
    assert_eq!(late.result()["resultType"], "complete", "again and again is fine");
    until(&ada, done, "completed").await;
}

#[tokio::test]
async fn a_modern_client_without_tasks_cancels_by_going_away() {
    let cluster = cluster(1, 1).await;
    let ada = cluster.web(0).modern(cluster.token("ada").await);
    let mut stream = ada.open("tools/call", at_gate("test_job_gate", "a", 1)).await;
    stream.expect("notifications/progress").await;
    cluster.gate("a").reached(1).await;
    drop(stream);
    cluster.gate("a").stopped(1).await;
}

#[tokio::test]
async fn a_session_cancels_by_saying_so_anywhere() {
    let cluster = cluster(2, 1).await;
    let ada = cluster.web(0).legacy(cluster.token("ada").await, Revision::November2025).await;
    let call = ada.body("tools/call", at_gate("test_job_gate", "a", 1));
    let mut stream = ada.send(&call).await;
    stream.expect("notifications/progress").await;
    cluster.gate("a").reached(1).await;
    let cancelled = json!({ "requestId": call["id"] });
    let elsewhere = ada.at(cluster.web(1));
    assert_eq!(elsewhere.notify("notifications/cancelled", cancelled).await, 202);
    cluster.gate("a").stopped(1).await;
    let rest = stream.rest().await;
    assert!(rest.iter().all(|event| event.message.is_none()), "no answer: {rest:#?}");
}
