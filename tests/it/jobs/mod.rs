//! Tools that run as jobs, as each kind of client sees them. Web instances and workers share nothing
//! but the stores and the database.

mod access;
mod calls;
mod cancel;
mod legacy_tasks;
mod outages;
mod survives;
mod tasks;
mod without_streams;

use serde_json::{Value, json};
use tests::{
    client::{Legacy, Modern},
    cluster::{Cluster, Database, Setup},
};

/// Web instances with the fixtures, and workers.
async fn cluster(instances: usize, workers: usize) -> Cluster {
    // A worker that is told to end gives back what runs within half of this.
    cluster_that_ends_within("4s", instances, workers).await
}

async fn cluster_that_ends_within(timeout: &str, instances: usize, workers: usize) -> Cluster {
    let setup = Setup::new(Database::Sqlite);
    let setup = setup.with("SHUTDOWN_TIMEOUT", timeout);
    setup.instances(instances).workers(workers).start().await
}

fn accept(content: &Value) -> Value {
    json!({ "action": "accept", "content": content })
}

/// Calls a tool as a task of 2025-11-25 and gives the handle.
async fn legacy_task(client: &Legacy, mut call: Value) -> Value {
    call["task"] = json!({ "ttl": 600_000 });
    let made = client.call("tools/call", call).await;
    let task = &made.result()["task"];
    assert_eq!(task["status"], "working");
    task["taskId"].clone()
}

/// Asks for a task until it has this status.
async fn until(client: &Modern, task: &Value, status: &str) -> Value {
    tests::eventually(&format!("the task is {status}"), async || {
        let answer = client.call("tasks/get", json!({ "taskId": task })).await;
        (answer.result()["status"] == status).then(|| answer.result().clone())
    })
    .await
}

/// The same in a session of 2025-11-25.
async fn until_legacy(client: &Legacy, task: &Value, status: &str) -> Value {
    tests::eventually(&format!("the task is {status}"), async || {
        let answer = client.call("tasks/get", json!({ "taskId": task })).await;
        (answer.result()["status"] == status).then(|| answer.result().clone())
    })
    .await
}
