//! `notes_digest`: with the client's model, with the operator's model, or without one.

use serde_json::{Value, json};
use tests::{
    client::Modern,
    cluster::{Database, Setup},
    model::{self, Model},
    schema::Revision,
};

use super::{alone, answered, notes_on};

on_both_databases!(
    the_clients_model_writes_parts_and_then_the_whole,
    a_session_is_asked_part_by_part,
    the_operators_model_writes_it_for_clients_without_one,
    an_endpoint_that_refuses_is_named,
    an_endpoint_in_trouble_is_asked_again,
    without_any_model_it_returns_the_texts,
);

/// About 13,000 characters each, so that three fit into a part.
async fn fill(client: &Modern, notes: usize) {
    let notes: Vec<Value> = (0..notes)
        .map(|it| json!({ "title": format!("Note {it}"), "body": "word ".repeat(2_600) }))
        .collect();
    let text = Value::Array(notes).to_string();
    client.tool("notes_import", json!({ "text": text })).await.output();
}

fn sampled(text: &str) -> Value {
    let content = json!({ "type": "text", "text": text });
    json!({ "role": "assistant", "model": "theirs", "content": content })
}

async fn the_clients_model_writes_parts_and_then_the_whole(database: Database) {
    let cluster = notes_on(database).await;
    let ada = cluster.web(0).modern(cluster.token("ada").await);
    fill(&alone(&ada), 20).await;
    let call = json!({ "name": "notes_digest", "arguments": {} });
    let (done, rounds) = answered(&ada, &call, |key, question| {
        assert_eq!(question["method"], "sampling/createMessage");
        match key {
            "whole" => {
                let text = question["params"].to_string();
                assert!(text.contains("About part 1.") && text.contains("About part 7."), "{text}");
                sampled("All words.")
            }
            key => sampled(&format!("About {key}.")),
        }
    })
    .await;
    assert_eq!(rounds, [5, 2, 1], "seven parts, five at a time, and the whole");
    let whole = json!({
        "summary": "All words.", "notes": 20, "truncated": false, "model": "theirs",
    });
    assert_eq!(done.output(), &whole);
}

async fn a_session_is_asked_part_by_part(database: Database) {
    let cluster = notes_on(database).await;
    let ada = alone(&cluster.web(0).modern(cluster.token("ada").await));
    fill(&ada, 4).await;
    let session = cluster.web(0).legacy(cluster.token("ada").await, Revision::June2025).await;
    let call = json!({ "name": "notes_digest", "arguments": {} });
    let mut stream = session.open("tools/call", call).await;
    for text in ["One.", "Two.", "Both."] {
        let question = stream.until("sampling/createMessage").await;
        assert_eq!(session.respond(&question, sampled(text)).await, 202);
    }
    let done = stream.message().await;
    assert_eq!(done["result"]["structuredContent"]["summary"], "Both.", "{done}");
}

async fn the_operators_model_writes_it_for_clients_without_one(database: Database) {
    let model = Model::start().await;
    let cluster = with_model(database, &model).start().await;
    let ada = alone(&cluster.web(0).modern(cluster.token("ada").await));
    fill(&ada, 8).await;
    let done = ada.tool("notes_digest", json!({})).await.output().clone();
    assert_eq!((&done["notes"], &done["model"]), (&json!(8), &json!(model::NAME)));
    let asked = model.asked();
    assert_eq!(asked.len(), 4, "three parts, and the whole");
    let (whole, parts) = asked.split_last().unwrap();
    assert!(parts.iter().all(|it| it.user.contains("# Note ") && it.system.contains("never an")));
    assert_eq!(whole.user.matches("I read ").count(), 3, "{}", whole.user);
    assert_eq!(done["summary"], format!("I read {} characters.", whole.user.chars().count()));

    ada.tool("notes_create", json!({ "title": "Tea", "body": "", "tags": ["kitchen"] })).await;
    ada.tool("notes_digest", json!({ "tag": "kitchen" })).await.output();
    assert_eq!(model.asked().len(), 5, "what fits into one part needs no whole");
}

async fn an_endpoint_that_refuses_is_named(database: Database) {
    let model = Model::start().await;
    let cluster = with_model(database, &model).with("LLM_API_KEY", "wrong").start().await;
    let ada = alone(&cluster.web(0).modern(cluster.token("ada").await));
    ada.tool("notes_create", json!({ "title": "Tea", "body": "" })).await.output();
    let refused = ada.tool("notes_digest", json!({})).await;
    assert!(refused.tool_error().contains("LLM_API_KEY"), "{}", refused.tool_error());
    assert!(!refused.tool_error().contains("wrong"), "{}", refused.tool_error());
}

async fn an_endpoint_in_trouble_is_asked_again(database: Database) {
    let model = Model::start().await;
    // What is tried again is so after a pause.
    let cluster = with_model(database, &model).real_time().start().await;
    let ada = alone(&cluster.web(0).modern(cluster.token("ada").await));
    ada.tool("notes_create", json!({ "title": "Tea", "body": "" })).await.output();
    for status in [500, 429] {
        model.refuse_next(status);
        let done = ada.tool("notes_digest", json!({})).await;
        assert_eq!(done.output()["notes"], 1, "after {status}");
    }
    assert_eq!(model.asked().len(), 2);

    model.refuse_next(400);
    let refused = ada.tool("notes_digest", json!({})).await;
    assert!(refused.tool_error().contains("it responds with 400"), "{}", refused.tool_error());
    assert_eq!(model.asked().len(), 2, "what will not pass is not tried again");
}

async fn without_any_model_it_returns_the_texts(database: Database) {
    let cluster = notes_on(database).await;
    let ada = alone(&cluster.web(0).modern(cluster.token("ada").await));
    for note in 0..3 {
        let body = "ü".repeat(10_000);
        let note = json!({ "title": format!("Note {note}"), "body": body });
        ada.tool("notes_create", note).await.output();
    }
    let texts = ada.tool("notes_digest", json!({})).await;
    let output = texts.output();
    assert_eq!((&output["notes"], &output["truncated"]), (&json!(1), &json!(true)));
    let text = output["text"].as_str().unwrap();
    assert!(
        text.starts_with("# Note") && text.contains("\n\nüü") && text.len() <= 40_000,
        "{}",
        text.len()
    );
    assert!(output["instruction"].as_str().unwrap().starts_with("Summarize"), "{output}");
}

fn with_model(database: Database, model: &Model) -> Setup {
    Setup::new(database)
        .product(notes::product)
        .workers(1)
        .with("LLM_URL", model.url())
        .with("LLM_MODEL", model::NAME)
        .with("LLM_API_KEY", model::API_KEY)
}
