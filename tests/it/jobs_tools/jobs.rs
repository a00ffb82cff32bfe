//! `jobs_list`, `jobs_get` and `jobs_cancel`: a model comes back for what it did not wait for.

use serde_json::{Value, json};
use tests::{
    client::Modern,
    cluster::{Database, Setup},
    eventually,
    schema::Revision,
};

use super::{alone, notes_on, titles};

on_both_databases!(
    a_model_comes_back_for_the_result,
    a_job_that_waits_for_its_user_can_be_cancelled,
    a_failure_is_told_later_too,
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
    let cluster = Setup::new(database).workers(1).instances(2).start().await;
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
