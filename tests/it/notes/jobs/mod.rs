//! The tools that run as jobs (import, export and digest of notes) and the tools for jobs, on both
//! databases and with clients of both eras.

mod digest;
mod export;
mod import;
mod job_tools;
mod programs;
mod round_trip;

use serde_json::{Value, json};
use tests::{
    client::{Answer, Modern},
    cluster::{Cluster, Database, Setup},
};

/// One instance of the product, with a worker.
async fn notes_on(database: Database) -> Cluster {
    Setup::new(database).product(notes::product).workers(1).start().await
}

/// A client without elicitation and sampling.
fn alone(client: &Modern) -> Modern {
    client.with_capabilities(json!({}))
}

/// All titles of the client's notes, sorted.
async fn titles(client: &Modern) -> Vec<String> {
    let mut titles = Vec::new();
    let mut arguments = json!({ "limit": 100 });
    loop {
        let page = client.tool("notes_list", arguments.clone()).await;
        let page = page.output();
        let notes = page["notes"].as_array().unwrap();
        titles.extend(notes.iter().map(|it| it["title"].as_str().unwrap().to_owned()));
        match &page["next_cursor"] {
            Value::Null => break,
            cursor => arguments["cursor"] = cursor.clone(),
        }
    }
    titles.sort_unstable();
    titles
}

/// The body of the one note of this title.
async fn body(client: &Modern, title: &str) -> String {
    let page = client.tool("notes_list", json!({ "limit": 100 })).await;
    let notes = page.output()["notes"].as_array().unwrap().clone();
    let mut found = notes.iter().filter(|it| it["title"] == title);
    let (note, others) = (found.next().unwrap(), found.count());
    assert_eq!(others, 0, "one note has the title {title}");
    let note = client.tool("notes_get", json!({ "id": note["id"] })).await;
    note.output()["body"].as_str().unwrap().to_owned()
}

/// Calls a tool and answers its questions until it has finished. Returns the number of questions of each
/// round.
async fn answered(
    client: &Modern,
    call: &Value,
    mut answer: impl FnMut(&str, &Value) -> Value,
) -> (Answer, Vec<usize>) {
    let mut rounds = Vec::new();
    let mut request = call.clone();
    loop {
        let reply = client.call("tools/call", request.clone()).await;
        let Some(asked) = reply.result().get("inputRequests").and_then(Value::as_object).cloned()
        else {
            return (reply, rounds);
        };
        rounds.push(asked.len());
        let answers: serde_json::Map<String, Value> =
            asked.iter().map(|(key, question)| (key.clone(), answer(key, question))).collect();
        request = call.clone();
        request["requestState"] = reply.result()["requestState"].clone();
        request["inputResponses"] = Value::Object(answers);
    }
}
