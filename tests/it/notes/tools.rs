//! The main function of the product over MCP: a client creates, finds, updates and deletes notes.

use std::time::Duration;

use serde_json::{Value, json};
use tests::{
    client::Modern,
    cluster::{Cluster, Database},
    schema::Revision,
};

use super::{delete, notes_on};

on_both_databases!(
    a_note_is_kept_found_changed_and_deleted,
    a_sessions_client_does_the_same,
    a_note_is_deleted_only_if_the_user_agrees,
    a_search_finds_words_and_shows_where,
    a_limit_is_named_when_it_is_exceeded,
    a_summary_is_written_by_the_clients_model,
    notes_can_be_read_as_resources_and_prompts,
);

async fn ada(cluster: &Cluster) -> Modern {
    cluster.web(0).modern(cluster.token("ada").await)
}

async fn create(client: &Modern, title: &str, body: &str) -> String {
    let created = client.tool("notes_create", json!({ "title": title, "body": body })).await;
    created.output()["id"].as_str().unwrap().to_owned()
}

async fn a_note_is_kept_found_changed_and_deleted(database: Database) {
    let cluster = notes_on(database).await;
    let ada = ada(&cluster).await.with_capabilities(json!({}));
    let note = json!({ "title": "Tea", "body": "Green, 70 °C", "tags": ["kitchen"] });
    let created = ada.tool("notes_create", note).await;
    let id = created.output()["id"].clone();

    let found = ada.tool("notes_get", json!({ "id": id })).await;
    assert_eq!(found.output(), created.output());
    assert_eq!(found.output()["body"], "Green, 70 °C");
    let text: Value = serde_json::from_str(found.text()).unwrap();
    assert_eq!(&text, found.output(), "the same as text, for clients that read only that");

    let tagged = ada.tool("notes_list", json!({ "tag": "kitchen" })).await;
    assert_eq!(tagged.output()["notes"][0]["id"], id);
    let changed = ada.tool("notes_update", json!({ "id": id, "body": "Black" })).await;
    assert_eq!(changed.output()["title"], "Tea", "what is not named stays");
    assert_eq!(changed.output()["body"], "Black");

    let deleted = delete(&ada, id.clone()).await;
    assert_eq!(deleted.output()["deleted"], true);
    let gone = ada.tool("notes_get", json!({ "id": id })).await;
    assert!(gone.tool_error().contains("no note"), "{}", gone.tool_error());
    assert_eq!(ada.tool("notes_list", json!({})).await.output()["notes"], json!([]));
}

async fn a_sessions_client_does_the_same(database: Database) {
    let cluster = notes_on(database).await;
    let ada = cluster.web(0).legacy(cluster.token("ada").await, Revision::June2025).await;
    // The dotted name is what older notes and habits have.
    let created = ada.tool("notes.create", json!({ "title": "Tea", "body": "" })).await;
    let id = created.output()["id"].clone();
    ada.tool("notes_update", json!({ "id": id, "title": "Coffee" })).await.output();
    let listed = ada.tool("notes_list", json!({})).await;
    assert_eq!(listed.output()["notes"][0]["title"], "Coffee");
}

async fn a_note_is_deleted_only_if_the_user_agrees(database: Database) {
    let cluster = notes_on(database).await;
    let ada = ada(&cluster).await;
    let id = create(&ada, "Tea", "").await;
    let call = json!({ "name": "notes_delete", "arguments": { "id": id } });
    let refusals = [
        json!({ "action": "decline" }),
        json!({ "action": "cancel" }),
        json!({ "action": "accept", "content": { "confirm": false } }),
    ];
    for answer in refusals {
        let asked = ada.call("tools/call", call.clone()).await;
        cluster.clock().advance(Duration::from_secs(5));
        let question = &asked.result()["inputRequests"]["confirm"]["params"];
        assert!(question["message"].as_str().unwrap().contains("Tea"), "{question}");
        let mut retry = call.clone();
        retry["requestState"] = asked.result()["requestState"].clone();
        retry["inputResponses"] = json!({ "confirm": answer });
        let done = ada.call("tools/call", retry).await;
        assert_eq!(done.output()["deleted"], false, "{answer}");
        assert_eq!(done.output().get("confirm"), None, "the user has refused: {answer}");
        ada.tool("notes_get", json!({ "id": id })).await.output();
    }
    let session = cluster.web(0).legacy(cluster.token("ada").await, Revision::June2025).await;
    let mut stream = session.open("tools/call", call).await;
    let question = stream.expect("elicitation/create").await;
    // Accepting the form is enough.
    let agreed = json!({ "action": "accept", "content": {} });
    assert_eq!(session.respond(&question, agreed).await, 202);
    let done = stream.message().await;
    assert_eq!(done["result"]["structuredContent"]["deleted"], true);
    assert!(!ada.tool("notes_get", json!({ "id": id })).await.tool_error().is_empty());
}

async fn a_search_finds_words_and_shows_where(database: Database) {
    let cluster = notes_on(database).await;
    let ada = ada(&cluster).await;
    create(&ada, "Garden", "The pump by the river needs a new valve before winter.").await;
    create(&ada, "Kitchen", "Buy bread.").await;
    let found = async |query: &str| {
        let answer = ada.tool("notes_search", json!({ "query": query })).await;
        let hits = answer.output()["notes"].as_array().unwrap().clone();
        let titles: Vec<String> =
            hits.iter().map(|hit| hit["title"].as_str().unwrap().to_owned()).collect();
        (titles, Value::Array(hits).to_string())
    };
    let (titles, shown) = found("valve").await;
    assert_eq!(titles, ["Garden"]);
    assert!(shown.contains("valve"), "where it was found: {shown}");
    assert_eq!(found("kitchen").await.0, ["Kitchen"], "in the title, in any case");
    assert_eq!(found("elephant").await.0, [] as [&str; 0]);
    for odd in ["'", "\"", "a AND", "(", "*", "-", "OR", ":*", "NEAR(", "\\", "%", "\u{0}"] {
        // Whatever it finds, it is no error of ours.
        let answer = ada.tool("notes_search", json!({ "query": odd })).await;
        let text = answer.result().to_string();
        assert!(!text.contains("error of the server"), "`{odd}`: {text}");
    }
}

async fn a_limit_is_named_when_it_is_exceeded(database: Database) {
    let cluster = notes_on(database).await;
    let ada = ada(&cluster).await;
    let tags: Vec<String> = (0..17).map(|number| format!("tag {number}")).collect();
    for (note, place, limit) in [
        (json!({ "title": "", "body": "" }), "title", "200"),
        (json!({ "title": "x".repeat(201), "body": "" }), "title", "200"),
        (json!({ "title": "x", "body": "x".repeat(100_001) }), "body", "100000"),
        (json!({ "title": "x", "body": "", "tags": tags }), "tags", "16"),
        (json!({ "title": "x", "body": "", "tags": ["x".repeat(41)] }), "tags", "40"),
        (json!({ "title": "x" }), "body", ""),
        (json!({ "title": "x", "body": "", "colour": "red" }), "colour", ""),
        (json!({ "title": 7, "body": "" }), "title", "string"),
    ] {
        let refused = ada.tool("notes_create", note).await;
        let sentence = refused.tool_error();
        assert!(sentence.contains(place), "{place}: {sentence}");
        assert!(sentence.replace(',', "").contains(limit), "{place}, {limit}: {sentence}");
    }
    let largest = json!({
        "title": "ü".repeat(200), "body": "€".repeat(100_000),
        "tags": (0..16).map(|number| format!("{number:040}")).collect::<Vec<_>>(),
    });
    ada.tool("notes_create", largest).await.output();
}

async fn a_summary_is_written_by_the_clients_model(database: Database) {
    let cluster = notes_on(database).await;
    let ada = ada(&cluster).await;
    let id = create(&ada, "Tea", "Green").await;
    let summarize = json!({ "name": "notes_summarize", "arguments": { "ids": [id] } });
    let asked = ada.call("tools/call", summarize.clone()).await;
    let requests = asked.result()["inputRequests"].as_object().unwrap();
    let (key, request) = requests.iter().next().unwrap();
    assert_eq!(request["method"], "sampling/createMessage");
    assert!(request["params"].to_string().contains("Green"), "{request}");
    let mut retry = summarize.clone();
    retry["requestState"] = asked.result()["requestState"].clone();
    retry["inputResponses"] = json!({ key: {
        "role": "assistant", "model": "m", "content": { "type": "text", "text": "All tea." },
    }});
    let done = ada.call("tools/call", retry).await;
    assert_eq!(done.output()["summary"], "All tea.");

    // A client without sampling receives what its model needs to do it itself.
    let token = cluster.token("ada").await;
    let session = cluster.web(0).legacy_with(token, Revision::November2025, json!({})).await;
    let unable = ada.with_capabilities(json!({})).call("tools/call", summarize.clone()).await;
    for answer in [unable, session.call("tools/call", summarize).await] {
        let output = answer.output();
        assert_eq!(output.get("summary"), None, "{output}");
        assert_eq!(output["text"], "# Tea\n\nGreen\n\n");
        assert!(output["instruction"].as_str().unwrap().starts_with("Summarize"), "{output}");
        assert_eq!(output["notes"][0]["id"], json!(id));
    }
}

async fn notes_can_be_read_as_resources_and_prompts(database: Database) {
    let cluster = notes_on(database).await;
    let ada = ada(&cluster).await;
    let id = create(&ada, "Tea", "Green").await;
    let listed = ada.call("resources/list", Value::Null).await;
    let uris: Vec<&Value> =
        listed.result()["resources"].as_array().unwrap().iter().map(|it| &it["uri"]).collect();
    assert_eq!(uris, ["notes://recent", format!("notes://by-id/{id}").as_str()]);
    for uri in uris {
        let read = ada.call("resources/read", json!({ "uri": uri })).await;
        assert!(read.result()["contents"][0]["text"].as_str().unwrap().contains("Tea"), "{uri}");
    }
    let prompt = json!({ "name": "summarize_notes", "arguments": { "subject": "green" } });
    let prompt = ada.call("prompts/get", prompt).await;
    assert!(prompt.result()["messages"].to_string().contains("Tea"), "{}", prompt.result());
    let review = json!({ "name": "weekly_review", "arguments": {} });
    let review = ada.call("prompts/get", review).await;
    assert!(review.result()["messages"].to_string().contains("Tea"), "{}", review.result());

    for missing in ["notes://by-id/nonsense", "notes://nowhere", "file:///etc/passwd"] {
        let refused = ada.call("resources/read", json!({ "uri": missing })).await;
        assert_eq!(refused.code(), -32602, "{missing}");
        let session = cluster.web(0).legacy(cluster.token("ada").await, Revision::June2025).await;
        let refused = session.call("resources/read", json!({ "uri": missing })).await;
        assert_eq!(refused.code(), -32002, "{missing}");
    }
    let refused = ada.call("prompts/get", json!({ "name": "summarize_notes" })).await;
    assert_eq!(refused.code(), -32602, "an argument is missing");
}
