//! What one person may keep: held by the database whatever several instances do at once, and said in
//! numbers.

use sea_orm::{ConnectionTrait, Statement};
use serde_json::{Value, json};
use tests::{
    client::{Answer, Modern},
    cluster::{Cluster, Database, Setup},
};
use tokio::task::JoinSet;

use super::delete;

on_both_databases!(
    instances_that_race_keep_to_the_quota,
    a_note_that_grows_counts_and_one_that_shrinks_makes_room,
    a_person_with_more_than_the_quota_can_read_shorten_and_delete,
    an_import_keeps_what_fits_and_says_what_does_not,
    the_database_counts_what_there_is,
);

fn limited(database: Database, notes: u32) -> Setup {
    Setup::new(database)
        .product(notes::product)
        .with("NOTES_PER_PERSON", notes.to_string())
        .with("MEGABYTES_PER_PERSON", "1")
        .with("RATE_LIMIT_PER_MINUTE", "0")
}

async fn create(client: &Modern, title: &str, length: usize) -> Answer {
    let note = json!({ "title": title, "body": "x".repeat(length) });
    client.tool("notes_create", note).await
}

fn id(answer: &Answer) -> Value {
    answer.output()["id"].clone()
}

fn is_full(answer: &Answer, numbers: &str) {
    let message = answer.tool_error();
    assert!(message.contains(numbers) && message.contains("Delete or shorten"), "{message}");
}

/// What the database has counted, and what there is, for each person.
async fn counted(cluster: &Cluster) -> (Vec<(String, i64, i64)>, Vec<(String, i64, i64)>) {
    let db = cluster.app().db();
    let rows = async |sql: &str| {
        let statement = Statement::from_string(db.get_database_backend(), sql);
        let rows = db.query_all_raw(statement).await.unwrap();
        let rows = rows.iter().map(|row| {
            let count = |column| row.try_get::<i64>("", column).unwrap();
            (row.try_get("", "owner_sub").unwrap(), count("notes"), count("bytes"))
        });
        rows.collect::<Vec<(String, i64, i64)>>()
    };
    let postgres = db.get_database_backend() == sea_orm::DbBackend::Postgres;
    let tags = if postgres { "octet_length(tags::text)" } else { "octet_length(tags)" };
    let sum = format!("octet_length(title) + octet_length(body) + {tags}");
    let sum = if postgres { format!("sum({sum})::bigint") } else { format!("sum({sum})") };
    (
        rows("SELECT owner_sub, notes, bytes FROM note_usage ORDER BY owner_sub").await,
        rows(&format!(
            "SELECT owner_sub, count(*) AS notes, {sum} AS bytes FROM notes
            GROUP BY owner_sub ORDER BY owner_sub"
        ))
        .await,
    )
}

async fn instances_that_race_keep_to_the_quota(database: Database) {
    let cluster = limited(database, 10).instances(2).start().await;
    let ada = cluster.web(0).modern(cluster.token("ada").await);
    let mut calls = JoinSet::new();
    for number in 0..30 {
        let ada = ada.at(cluster.web(number % 2));
        calls.spawn(async move { create(&ada, "Note", 10).await });
    }
    let answers = calls.join_all().await;
    let (kept, refused): (Vec<_>, Vec<_>) =
        answers.iter().partition(|it| it.result()["isError"].as_bool() != Some(true));
    assert_eq!(kept.len(), 10);
    for answer in refused {
        is_full(answer, "10 of 10 notes, 1 of 1 MB");
    }
    let bob = cluster.web(1).modern(cluster.token("bob").await);
    create(&bob, "His own", 10).await.output();
}

async fn a_note_that_grows_counts_and_one_that_shrinks_makes_room(database: Database) {
    let cluster = limited(database, 100).start().await;
    let ada = cluster.web(0).modern(cluster.token("ada").await);
    let mut last = Value::Null;
    for number in 0..9 {
        last = id(&create(&ada, &format!("Note {number}"), 100_000).await);
    }
    is_full(&create(&ada, "One more", 100_000).await, "9 of 100 notes, 1 of 1 MB");
    let small = id(&create(&ada, "Small", 10).await);
    let change = |id: &Value, length: usize| json!({ "id": id, "body": "y".repeat(length) });
    is_full(&ada.tool("notes_update", change(&small, 100_000)).await, "10 of 100 notes");
    let kept = ada.tool("notes_get", json!({ "id": small })).await;
    assert_eq!(kept.output()["body"], "x".repeat(10), "it is as it was");

    ada.tool("notes_update", change(&last, 1)).await.output();
    ada.tool("notes_update", change(&small, 100_000)).await.output();
    delete(&ada, small).await.output();
    create(&ada, "One more", 100_000).await.output();
}

async fn a_person_with_more_than_the_quota_can_read_shorten_and_delete(database: Database) {
    let mut cluster = limited(database, 3).start().await;
    let ada = cluster.web(0).modern(cluster.token("ada").await);
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(id(&create(&ada, "Note", 100).await));
    }
    let lowered = cluster.join(&[("NOTES_PER_PERSON", "1")]).await;
    let ada = ada.at(cluster.web(lowered)).with_capabilities(json!({}));
    is_full(&create(&ada, "Note", 1).await, "3 of 1 notes");
    let listed = ada.tool("notes_list", json!({})).await;
    assert_eq!(listed.output()["notes"].as_array().map(Vec::len), Some(3));
    ada.tool("notes_update", json!({ "id": ids[0], "body": "short" })).await.output();
    for id in ids {
        delete(&ada, id).await.output();
    }
    create(&ada, "Note", 1).await.output();
}

async fn an_import_keeps_what_fits_and_says_what_does_not(database: Database) {
    let cluster = limited(database, 703).workers(1).start().await;
    let ada = cluster.web(0).modern(cluster.token("ada").await).with_capabilities(json!({}));
    create(&ada, "There before", 1).await.output();
    let notes: Vec<Value> = (0..1_000).map(|it| json!({ "title": format!("n{it}") })).collect();
    let document = json!({ "text": json!(notes).to_string(), "on_conflict": "skip" });
    let imported = ada.tool("notes_import", document).await;
    let message = imported.tool_error();
    for part in [
        "703 of 703 notes",
        "702 notes were created and 0 notes were replaced",
        "the last 298 notes, from “n702” on, were not imported",
        "`on_conflict` set to `skip`",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
    let (counted, there) = counted(&cluster).await;
    assert_eq!(counted, there);
    assert_eq!(there[0].1, 703);
}

async fn the_database_counts_what_there_is(database: Database) {
    let cluster = limited(database, 1_000).workers(1).start().await;
    let clients = [
        cluster.web(0).modern(cluster.token("ada").await),
        cluster.web(0).modern(cluster.token("bob").await),
    ];
    for client in &clients {
        let client = client.with_capabilities(json!({}));
        let notes: Vec<Value> = (0..20)
            .map(|it| json!({ "title": format!("n{it}"), "body": "äöü", "tags": ["ä", "b"] }))
            .collect();
        for (conflict, body) in [("keep_both", "äöü"), ("replace", "longer than before")] {
            let mut notes = notes.clone();
            notes[0]["body"] = body.into();
            let text = json!(notes).to_string();
            let document = json!({ "text": text, "on_conflict": conflict });
            client.tool("notes_import", document).await.output();
        }
        let note = id(&create(&client, "Title", 100).await);
        let change = json!({ "id": note, "title": "ü", "tags": ["a", "b", "c"], "body": "y" });
        client.tool("notes_update", change).await.output();
        let (counted, there) = counted(&cluster).await;
        assert_eq!(counted, there);
        delete(&client, note).await.output();
    }
    let (counted, there) = counted(&cluster).await;
    assert_eq!((counted.len(), &counted), (2, &there));

    cluster.app().db().execute_unprepared("DELETE FROM notes").await.unwrap();
    assert_eq!(self::counted(&cluster).await, (Vec::new(), Vec::new()));
}
