//! Two users never see, change, list, complete, follow or infer each other's notes.

use serde_json::{Value, json};
use tests::{
    client::{Answer, Modern},
    cluster::{Cluster, Database, Setup},
    schema::Revision,
};

use super::notes_on;

on_both_databases!(
    somebody_elses_note_is_as_absent_as_one_that_never_was,
    lists_and_searches_show_ones_own_notes,
    a_cursor_opens_nothing_for_somebody_else,
    completion_suggests_ones_own_notes,
    changes_are_heard_by_their_owner,
);

/// An id that no note has.
const NOBODYS: &str = "0199a1b2-c3d4-7e5f-8a6b-7c8d9e0f1a2b";

async fn create(client: &Modern, title: &str) -> String {
    let note = json!({ "title": title, "body": "zebra", "tags": ["private"] });
    client.tool("notes_create", note).await.output()["id"].as_str().unwrap().to_owned()
}

async fn two_users(cluster: &Cluster) -> (Modern, Modern) {
    let web = cluster.web(0);
    (web.modern(cluster.token("ada").await), web.modern(cluster.token("bob").await))
}

/// A response without the request id, so that two responses can be compared.
fn said(answer: &Answer, id: &str) -> (u16, String) {
    let mut message = answer.message.clone();
    message["id"] = Value::Null;
    (answer.status.as_u16(), message.to_string().replace(id, "ID"))
}

async fn somebody_elses_note_is_as_absent_as_one_that_never_was(database: Database) {
    let cluster = notes_on(database).await;
    let (ada, bob) = two_users(&cluster).await;
    let hers = create(&ada, "Secret").await;
    let attempts = |id: &str| {
        let uri = format!("notes://by-id/{id}");
        [
            ("tools/call", json!({ "name": "notes_get", "arguments": { "id": id } })),
            (
                "tools/call",
                json!({ "name": "notes_update", "arguments": { "id": id, "title": "Mine" } }),
            ),
            ("tools/call", json!({ "name": "notes_delete", "arguments": { "id": id } })),
            ("tools/call", json!({ "name": "notes_summarize", "arguments": { "ids": [id] } })),
            ("resources/read", json!({ "uri": uri })),
        ]
    };
    for ((method, hers_params), (_, nobodys_params)) in
        attempts(&hers).into_iter().zip(attempts(NOBODYS))
    {
        let about_hers = bob.call(method, hers_params.clone()).await;
        let about_nobodys = bob.call(method, nobodys_params).await;
        assert_eq!(said(&about_hers, &hers), said(&about_nobodys, NOBODYS), "{hers_params}");
        let failed = about_hers.message.get("error").is_some()
            || about_hers.result()["isError"] == json!(true);
        assert!(failed, "{hers_params}: {:#}", about_hers.message);
    }
    let note = ada.tool("notes_get", json!({ "id": hers })).await;
    assert_eq!(note.output()["title"], "Secret");
}

async fn lists_and_searches_show_ones_own_notes(database: Database) {
    let cluster = notes_on(database).await;
    let (ada, bob) = two_users(&cluster).await;
    create(&ada, "Of Ada").await;
    create(&bob, "Of Bob").await;
    for (who, own, other) in [(&ada, "Of Ada", "Of Bob"), (&bob, "Of Bob", "Of Ada")] {
        for (method, params) in [
            ("tools/call", json!({ "name": "notes_list", "arguments": {} })),
            ("tools/call", json!({ "name": "notes_list", "arguments": { "tag": "private" } })),
            ("tools/call", json!({ "name": "notes_search", "arguments": { "query": "zebra" } })),
            ("resources/list", json!({})),
            ("resources/read", json!({ "uri": "notes://recent" })),
        ] {
            let shown = who.call(method, params.clone()).await.result().to_string();
            assert!(shown.contains(own), "{params}: {shown}");
            assert!(!shown.contains(other), "{params}: {shown}");
        }
    }
}

async fn a_cursor_opens_nothing_for_somebody_else(database: Database) {
    let cluster = notes_on(database).await;
    let (ada, bob) = two_users(&cluster).await;
    for number in 0..4 {
        create(&ada, &format!("Ada {number}")).await;
        create(&bob, &format!("Bob {number}")).await;
    }
    let first = ada.tool("notes_list", json!({ "limit": 2 })).await;
    let cursor = &first.output()["next_cursor"];
    let stolen = bob.tool("notes_list", json!({ "limit": 2, "cursor": cursor })).await;
    assert!(!stolen.message.to_string().contains("Ada"), "{:#}", stolen.message);
}

async fn completion_suggests_ones_own_notes(database: Database) {
    let cluster = notes_on(database).await;
    let (ada, bob) = two_users(&cluster).await;
    let hers = create(&ada, "Secret").await;
    let suggested = async |who: &Modern, value: &str| {
        let params = json!({
            "ref": { "type": "ref/resource", "uri": "notes://by-id/{id}" },
            "argument": { "name": "id", "value": value },
        });
        let answer = who.call("completion/complete", params).await;
        answer.result()["completion"]["values"].as_array().unwrap().clone()
    };
    for value in ["", &hers[..8], &hers] {
        assert_eq!(suggested(&ada, value).await, [json!(hers)], "`{value}`");
        assert_eq!(suggested(&bob, value).await, [] as [Value; 0], "`{value}`");
    }
}

async fn changes_are_heard_by_their_owner(database: Database) {
    let cluster = Setup::new(database).product(notes::product).instances(2).start().await;
    let (ada, bob) = two_users(&cluster).await;
    let hers = create(&ada, "Secret").await;
    let his = create(&bob, "Own").await;
    let uri = |id: &str| format!("notes://by-id/{id}");
    let filter = json!({
        "resourceSubscriptions": [uri(&hers), uri(&his)],
        "resourcesListChanged": true,
    });
    let (mut modern, _) = bob.at(cluster.web(1)).listen(filter).await;
    let session = cluster.web(1).legacy(cluster.token("bob").await, Revision::November2025).await;
    for id in [&hers, &his] {
        // Whether it may be followed does not depend on whether it exists.
        let answer = session.call("resources/subscribe", json!({ "uri": uri(id) })).await;
        assert_eq!(answer.result(), &json!({}));
    }
    let mut legacy = session.listen().await;

    ada.tool("notes_update", json!({ "id": hers, "body": "changed" })).await.output();
    create(&ada, "One more").await;
    bob.tool("notes_update", json!({ "id": his, "body": "changed" })).await.output();
    for stream in [&mut modern, &mut legacy] {
        let first = stream.expect("notifications/resources/updated").await;
        assert_eq!(first["params"]["uri"], uri(&his));
    }
}
