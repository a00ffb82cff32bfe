//! `jobs_list`, `jobs_get` and `jobs_cancel`: a model looks up the jobs for which it did not wait.

use std::time::Duration;

use notes::scopes::READ;
use serde_json::{Value, json};
use tests::{
    client::{Answer, Modern},
    cluster::{Database, Setup},
    eventually,
    schema::Revision,
};

use super::{alone, notes_on, titles};

on_both_databases!(
    a_model_comes_back_for_the_result,
    a_job_that_waits_for_its_user_can_be_cancelled,
    a_failure_is_told_later_too,
    progress_is_told_to_the_end,
    a_job_needs_the_scope_of_its_own_tool_whatever_the_way,
    what_is_no_job_of_theirs_is_told_so,
);

const DOCUMENT: &str = "# Tea\n\nGreen\n<!-- notes-mcp: next note -->\n# Bread\n\nRye\n";

/// The job of this person that was started last.
async fn newest(client: &Modern) -> Value {
    let listed = client.tool("jobs_list", json!({})).await;
    listed.output()["jobs"][0].clone()
}

async fn look(client: &Modern, id: &Value) -> Value {
    client.tool("jobs_get", json!({ "id": id })).await.output().clone()
}

async fn a_model_comes_back_for_the_result(database: Database) {
    let cluster =
        Setup::new(database).product(notes::product).workers(1).instances(2).start().await;
    let ada = alone(&cluster.web(1).modern(cluster.token("ada").await));
    let session = cluster.web(0).legacy(cluster.token("ada").await, Revision::June2025).await;
    let call = json!({ "name": "notes_import", "arguments": { "text": DOCUMENT } });
    // Sent, and not waited for: a session's call goes on.
    drop(session.open("tools/call", call).await);
    let done = eventually("the import ends", async || {
        let job = newest(&ada).await;
        (job["status"] == "completed").then_some(job)
    })
    .await;
    assert_eq!(done["tool"], "notes_import");
    let found = look(&ada, &done["id"]).await;
    assert_eq!(found["result"]["created"], 2, "{found}");
    assert_eq!(found["job"]["id"], done["id"]);
    let cancelled = ada.tool("jobs_cancel", json!({ "id": done["id"] })).await;
    assert_eq!(cancelled.output()["job"]["status"], "completed", "it had ended");
    assert_eq!(titles(&ada).await, ["Bread", "Tea"]);
}

async fn a_job_that_waits_for_its_user_can_be_cancelled(database: Database) {
    let cluster = notes_on(database).await;
    let ada = alone(&cluster.web(0).modern(cluster.token("ada").await));
    ada.tool("notes_create", json!({ "title": "Tea", "body": "Black" })).await.output();
    let session = cluster.web(0).legacy(cluster.token("ada").await, Revision::November2025).await;
    let call = json!({ "name": "notes_import", "arguments": { "text": DOCUMENT } });
    let mut stream = session.open("tools/call", call).await;
    stream.until("elicitation/create").await;
    let waiting = newest(&ada).await;
    assert_eq!(waiting["status"], "input_required");
    assert!(waiting["next"].as_str().unwrap().contains("user"), "{waiting}");
    let cancelled = ada.tool("jobs_cancel", json!({ "id": waiting["id"] })).await;
    assert_eq!(cancelled.output()["job"]["status"], "cancelled");
    assert_eq!(look(&ada, &waiting["id"]).await["job"]["status"], "cancelled");
    assert_eq!(titles(&ada).await, ["Tea"], "nothing was imported");
}

async fn a_failure_is_told_later_too(database: Database) {
    let cluster = notes_on(database).await;
    let ada = alone(&cluster.web(0).modern(cluster.token("ada").await));
    let told = ada.tool("notes_import", json!({ "text": "" })).await;
    let sentence = told.tool_error().to_owned();
    let job = newest(&ada).await;
    let found = look(&ada, &job["id"]).await;
    assert!(found["error"].as_str().unwrap().contains(&sentence), "{found}");
    assert!(found.get("result").is_none(), "{found}");
    for job in [&job, &found["job"]] {
        assert_eq!(job["status"], "failed", "{job}");
        assert!(job["next"].as_str().unwrap().contains("why"), "{job}");
    }
}

/// The job is over a moment after its last step: nothing of that may be lost.
async fn progress_is_told_to_the_end(database: Database) {
    let cluster = notes_on(database).await;
    let ada = alone(&cluster.web(0).modern(cluster.token("ada").await));
    for round in 0..10 {
        cluster.clock().advance(Duration::from_secs(1));
        let document = format!("# Tea {round}\n\nGreen\n");
        ada.tool("notes_import", json!({ "text": document })).await.output();
        let job = newest(&ada).await;
        let expected = json!({ "done": 1.0, "total": 1.0, "message": "Imported 1 of 1 note" });
        assert_eq!(job["progress"], expected, "{job}");
        assert_eq!(look(&ada, &job["id"]).await["job"]["progress"], expected);
    }
    cluster.clock().advance(Duration::from_secs(1));
    ada.tool("notes_export", json!({})).await.output();
    let progress = &newest(&ada).await["progress"];
    assert_eq!((&progress["done"], &progress["total"]), (&json!(10.0), &json!(10.0)));
    assert_eq!(progress["message"], "Exported 10 notes");
}

fn needs_writing(answer: &Answer) {
    assert_eq!(answer.status, 403, "{:#}", answer.message);
    let challenge = answer.header("www-authenticate");
    for part in [r#"error="insufficient_scope""#, r#"scope="notes:read notes:write""#] {
        assert!(challenge.contains(part), "{challenge}");
    }
}

async fn a_job_needs_the_scope_of_its_own_tool_whatever_the_way(database: Database) {
    let cluster = notes_on(database).await;
    let web = cluster.web(0);
    let writer = alone(&web.modern(cluster.token("ada").await));
    writer.tool("notes_create", json!({ "title": "Tea", "body": "Black" })).await.output();
    writer.tool("notes_export", json!({})).await.output();
    cluster.clock().advance(Duration::from_secs(1));
    let session = web.legacy(cluster.token("ada").await, Revision::November2025).await;
    let call = json!({ "name": "notes_import", "arguments": { "text": DOCUMENT } });
    let mut stream = session.open("tools/call", call).await;
    let question = stream.until("elicitation/create").await;
    let id = newest(&writer).await["id"].clone();

    let reading = cluster.token_for("ada", &[READ]).await;
    let modern = web.modern(&reading);
    let legacy = session.presented_with(&reading);
    for tool in ["jobs_get", "jobs_cancel"] {
        needs_writing(&modern.tool(tool, json!({ "id": id })).await);
        needs_writing(&legacy.tool(tool, json!({ "id": id })).await);
        needs_writing(&legacy.without_streams().tool(tool, json!({ "id": id })).await);
    }
    let task = json!({ "taskId": id });
    for method in ["tasks/get", "tasks/cancel"] {
        needs_writing(&modern.with_tasks().call(method, task.clone()).await);
    }
    let answers = json!({ "taskId": id, "inputResponses": {} });
    needs_writing(&modern.with_tasks().call("tasks/update", answers).await);
    for method in ["tasks/get", "tasks/result", "tasks/cancel"] {
        needs_writing(&legacy.call(method, task.clone()).await);
    }
    let answer = json!({ "action": "accept", "content": { "existing": "replace" } });
    assert_eq!(legacy.respond(&question, answer).await, 403);

    let tools = async |client: &Modern| {
        let listed = client.tool("jobs_list", json!({})).await;
        let jobs = listed.output()["jobs"].as_array().unwrap().clone();
        jobs.into_iter().map(|job| job["tool"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(tools(&modern).await, ["notes_export"]);
    assert_eq!(tools(&writer).await, ["notes_import", "notes_export"]);
    let tasks = legacy.call("tasks/list", json!({})).await;
    assert_eq!(tasks.result()["tasks"].as_array().unwrap().len(), 1);
    let tasks = session.call("tasks/list", json!({})).await;
    assert_eq!(tasks.result()["tasks"].as_array().unwrap().len(), 2);

    let waiting = look(&writer, &id).await;
    assert_eq!(waiting["job"]["status"], "input_required", "nothing was changed: {waiting}");
    let cancelled = writer.tool("jobs_cancel", json!({ "id": id })).await;
    assert_eq!(cancelled.output()["job"]["status"], "cancelled");
}

async fn what_is_no_job_of_theirs_is_told_so(database: Database) {
    let cluster = notes_on(database).await;
    let ada = alone(&cluster.web(0).modern(cluster.token("ada").await));
    ada.tool("notes_import", json!({ "text": DOCUMENT })).await.output();
    let job = newest(&ada).await;
    let bob = alone(&cluster.web(0).modern(cluster.token("bob").await));
    assert_eq!(bob.tool("jobs_list", json!({})).await.output()["jobs"], json!([]));
    for id in [job["id"].clone(), json!("nonsense"), json!("AAAAAAAAAAAAAAAAAAAAAA")] {
        for tool in ["jobs_get", "jobs_cancel"] {
            let refused = bob.tool(tool, json!({ "id": id })).await;
            assert!(refused.tool_error().contains("no such job"), "{}", refused.tool_error());
        }
    }
    let refused = ada.tool("jobs_list", json!({ "cursor": "nonsense" })).await;
    assert!(refused.tool_error().contains("leave it out"), "{}", refused.tool_error());
}
