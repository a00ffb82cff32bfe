//! Sessions whose client takes no stream: the answer to a call is one JSON document, which waits for the
//! job.

use serde_json::{Value, json};
use tests::{client::Legacy, fixtures::at_gate, schema::Revision};
use tokio::task::JoinHandle;

use super::{cluster, cluster_that_ends_within, legacy_task, until_legacy};

const REVISION: Revision = Revision::November2025;

/// What a worker says that passed a gate once.
const PASSED: &str = "passed 1 times, 0 of them before";

/// A request that waits for its answer: its id, and all messages of the answer.
fn waiting(client: &Legacy, method: &str, params: Value) -> (Value, JoinHandle<Vec<Value>>) {
    let (client, body) = (client.clone(), client.body(method, params));
    let id = body["id"].clone();
    let answer = tokio::spawn(async move {
        let rest = client.send(&body).await.rest().await;
        rest.into_iter().filter_map(|event| event.message).collect()
    });
    (id, answer)
}

/// The tasks of a user, by status.
async fn statuses(client: &Legacy) -> Vec<Value> {
    let listed = client.call("tasks/list", json!({})).await;
    let tasks = listed.result()["tasks"].as_array().unwrap();
    tasks.iter().map(|task| task["status"].clone()).collect()
}

#[tokio::test]
async fn the_answer_to_a_call_waits_for_the_job() {
    let cluster = cluster(1, 1).await;
    for revision in Revision::LEGACY {
        let ada = cluster.web(0).legacy(cluster.token("ada").await, revision).await;
        let ada = ada.without_streams();
        let name = format!("gate of {revision}");
        let (_, answer) = waiting(&ada, "tools/call", at_gate("test_job_gate", &name, 1));
        cluster.gate(&name).reached(1).await;
        cluster.gate(&name).step();
        let answer = answer.await.unwrap();
        assert_eq!(answer[0]["result"]["content"][0]["text"], PASSED, "{answer:#?}");
    }
}

#[tokio::test]
async fn a_cancel_at_any_instance_ends_the_job_and_the_call_without_an_answer() {
    let cluster = cluster(2, 1).await;
    let ada = cluster.web(0).legacy(cluster.token("ada").await, REVISION).await;
    let ada = ada.without_streams();
    let (id, answer) = waiting(&ada, "tools/call", at_gate("test_job_gate", "a", 1));
    cluster.gate("a").reached(1).await;

    let elsewhere = ada.at(cluster.web(1));
    let cancelled = json!({ "requestId": id });
    assert_eq!(elsewhere.notify("notifications/cancelled", cancelled).await, 202);
    cluster.gate("a").stopped(1).await;
    assert_eq!(answer.await.unwrap(), Vec::<Value>::new(), "no answer");
    assert_eq!(statuses(&elsewhere).await, ["cancelled"]);
}

#[tokio::test]
async fn a_cancel_of_the_wait_for_a_result_lets_the_task_go_on() {
    let cluster = cluster(2, 1).await;
    let ada = cluster.web(0).legacy(cluster.token("ada").await, REVISION).await;
    let ada = ada.without_streams();
    let task = legacy_task(&ada, at_gate("test_job_gate", "a", 1)).await;
    let (id, answer) = waiting(&ada, "tasks/result", json!({ "taskId": task }));
    let elsewhere = ada.at(cluster.web(1));
    // Again, because nobody can see from outside that the request has arrived.
    tests::eventually("the client waits no more", async || {
        let cancelled = json!({ "requestId": id });
        assert_eq!(elsewhere.notify("notifications/cancelled", cancelled).await, 202);
        answer.is_finished().then_some(())
    })
    .await;
    assert_eq!(answer.await.unwrap(), Vec::<Value>::new(), "no answer");

    cluster.gate("a").step();
    until_legacy(&elsewhere, &task, "completed").await;
    assert_eq!(cluster.gate("a").stops(), 0);
}

#[tokio::test]
async fn a_drain_ends_the_wait_at_once_and_says_where_the_result_will_be() {
    // As long as nobody who waits for an answer has.
    let mut cluster = cluster_that_ends_within("300s", 2, 1).await;
    let ada = cluster.web(0).legacy(cluster.token("ada").await, REVISION).await;
    let ada = ada.without_streams();
    let (_, call) = waiting(&ada, "tools/call", at_gate("test_job_gate", "job", 1));
    cluster.gate("job").reached(1).await;
    let task = legacy_task(&ada, at_gate("test_job_gate", "task", 1)).await;
    // Lets the instance stay until the next request has arrived, whenever that is.
    let (_, inline) = waiting(&ada, "tools/call", at_gate("test_gate", "inline", 1));
    cluster.gate("inline").reached(1).await;
    let (_, result) = waiting(&ada, "tasks/result", json!({ "taskId": task }));
    cluster.shut_down(0);

    let call = call.await.unwrap();
    assert_eq!(call[0]["result"]["isError"], true, "{call:#?}");
    let said = call[0]["result"]["content"][0]["text"].as_str().unwrap();
    assert!(said.contains("is being replaced") && said.contains("`jobs_get`"), "{said}");
    let result = result.await.unwrap();
    assert_eq!(result[0]["error"]["code"], -32603, "{result:#?}");
    let advice = result[0]["error"]["message"].as_str().unwrap();
    assert!(advice.contains("request `tasks/result` again"), "{advice}");
    cluster.gate("inline").step();
    assert_eq!(inline.await.unwrap()[0]["result"]["content"][0]["text"], "passed 1 times");
    cluster.ended(0).await;

    let elsewhere = ada.at(cluster.web(1));
    cluster.gate("job").step();
    cluster.gate("task").step();
    let job = said.split_once("job ").unwrap().1.split_once(':').unwrap().0;
    for id in [json!(job), task] {
        let ended = elsewhere.call("tasks/result", json!({ "taskId": id })).await;
        assert_eq!(ended.text(), PASSED);
    }
}
