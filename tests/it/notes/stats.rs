//! `notes_stats`: the notes by week and by tag, and the storage that they use.

use chrono::{TimeDelta, Weekday};
use notes::scopes;
use platform::clock::Clock as _;
use serde_json::{Value, json};
use tests::{
    client::Modern,
    cluster::{Database, Setup},
};

use super::notes_on;

on_both_databases!(
    notes_are_counted_by_week_and_tag,
    a_user_without_notes_has_empty_statistics,
    only_the_most_frequent_tags_are_counted,
);

async fn create(client: &Modern, tags: &[&str]) {
    let note = json!({ "title": "Tea", "body": "Green", "tags": tags });
    client.tool("notes_create", note).await.output();
}

async fn stats(client: &Modern) -> Value {
    client.tool("notes_stats", json!({})).await.output().clone()
}

/// The counts of the weeks, the oldest first.
fn by_week(stats: &Value) -> Vec<u64> {
    let weeks = stats["weeks"].as_array().unwrap();
    weeks.iter().map(|week| week["notes"].as_u64().unwrap()).collect()
}

async fn notes_are_counted_by_week_and_tag(database: Database) {
    let cluster = Setup::new(database).product(notes::product).workers(1).start().await;
    let ada = cluster.web(0).modern(cluster.token("ada").await);
    let bob = cluster.web(0).modern(cluster.token("bob").await);
    create(&bob, &["tea"]).await;
    let now = cluster.clock().now();
    let note = |weeks: i64, tags: &[&str]| {
        let created_at = now - TimeDelta::weeks(weeks);
        json!({ "title": "Tea", "body": "Green", "tags": tags, "created_at": created_at })
    };
    let notes = [
        note(26, &["old"]),
        note(25, &[]),
        note(1, &["tea", "kitchen"]),
        note(1, &["tea"]),
        note(0, &[]),
    ];
    let document = json!({ "text": json!(notes).to_string(), "on_conflict": "keep_both" });
    assert_eq!(ada.tool("notes_import", document).await.output()["created"], 5);

    let stats = stats(&ada).await;
    assert_eq!(stats["notes"], 5);
    // The title and the text.
    assert!(stats["bytes"].as_u64().unwrap() >= 5 * 8, "{stats}");
    assert!(stats["quota"]["notes"].as_u64().unwrap() > 5, "{stats}");
    assert!(stats["quota"]["bytes"].as_u64().unwrap() > 1_000_000, "{stats}");
    let tags = json!([
        { "tag": "tea", "notes": 2 }, { "tag": "kitchen", "notes": 1 }, { "tag": "old", "notes": 1 }
    ]);
    assert_eq!(stats["tags"], tags);

    let mut expected = vec![0; 26];
    expected[0] = 1;
    expected[24] = 2;
    expected[25] = 1;
    assert_eq!(by_week(&stats), expected, "one note is older than these weeks");
    let monday = now.date_naive().week(Weekday::Mon).first_day();
    assert_eq!(stats["weeks"][25]["week"], monday.to_string());

    let more = ada.tool("notes_stats", json!({ "weeks": 27 })).await;
    assert_eq!(by_week(more.output()), [&[1], &expected[..]].concat());
    for weeks in [0, 105] {
        let refused = ada.tool("notes_stats", json!({ "weeks": weeks })).await;
        assert!(refused.tool_error().contains("104"), "{}", refused.tool_error());
    }
}

async fn a_user_without_notes_has_empty_statistics(database: Database) {
    let cluster = notes_on(database).await;
    // Reading is enough.
    let ada = cluster.web(0).modern(cluster.token_for("ada", &[scopes::READ]).await);
    let stats = stats(&ada).await;
    assert_eq!((&stats["notes"], &stats["bytes"]), (&json!(0), &json!(0)));
    assert_eq!(by_week(&stats), [0; 26]);
    assert_eq!(stats["tags"], json!([]));
}

async fn only_the_most_frequent_tags_are_counted(database: Database) {
    let cluster = notes_on(database).await;
    let ada = cluster.web(0).modern(cluster.token("ada").await);
    for first in ["a", "b", "c"] {
        let tags: Vec<String> = (0..8).map(|number| format!("{first}{number}")).collect();
        let tags: Vec<&str> = tags.iter().map(String::as_str).chain(["often"]).collect();
        create(&ada, &tags).await;
    }
    let stats = stats(&ada).await;
    let tags = stats["tags"].as_array().unwrap();
    assert_eq!(tags.len(), 20);
    assert_eq!(tags[0], json!({ "tag": "often", "notes": 3 }));
    assert!(tags[1..].iter().all(|tag| tag["notes"] == 1), "{stats}");
}
