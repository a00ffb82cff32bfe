//! The pages together are the whole list without duplicates, and an invalid cursor is rejected.

use std::{collections::HashSet, time::Duration};

use mcp::UserId;
use notes::store::{self, Body, Draft, Tags, Title};
use serde_json::{Value, json};
use tests::{
    client::Modern,
    cluster::{Cluster, Database, Setup},
    schema::Revision,
};

use super::notes_on;

on_both_databases!(
    pages_of_notes_join_up,
    pages_of_resources_join_up,
    thousands_of_resources_take_few_pages,
    a_note_that_comes_in_between_moves_nothing,
);

/// Creates notes at intervals of one second.
async fn create(cluster: &Cluster, client: &Modern, count: usize) {
    for number in 0..count {
        let note = json!({ "title": format!("Note {number}"), "body": "" });
        client.tool("notes_create", note).await.output();
        cluster.clock().advance(Duration::from_secs(1));
    }
}

/// Reads all pages. Returns the titles of all notes and the number of pages.
async fn titles(client: &Modern, limit: usize) -> (Vec<String>, usize) {
    let mut titles = Vec::new();
    let mut arguments = json!({ "limit": limit });
    for pages in 1.. {
        let page = client.tool("notes_list", arguments.clone()).await;
        for note in page.output()["notes"].as_array().unwrap() {
            titles.push(note["title"].as_str().unwrap().to_owned());
        }
        match page.output().get("next_cursor") {
            Some(cursor) => arguments["cursor"] = cursor.clone(),
            None => return (titles, pages),
        }
    }
    unreachable!("pages end")
}

async fn pages_of_notes_join_up(database: Database) {
    let cluster = notes_on(database).await;
    let ada = cluster.web(0).modern(cluster.token("ada").await);
    create(&cluster, &ada, 7).await;
    let newest_first: Vec<String> = (0..7).rev().map(|number| format!("Note {number}")).collect();
    for (limit, pages) in [(1, 7), (3, 3), (7, 1), (20, 1)] {
        assert_eq!(titles(&ada, limit).await, (newest_first.clone(), pages), "by {limit}");
    }
}

async fn pages_of_resources_join_up(database: Database) {
    let cluster = notes_on(database).await;
    let token = cluster.token("ada").await;
    let ada = cluster.web(0).modern(&token);
    create(&cluster, &ada, 130).await;
    let session = cluster.web(0).legacy(&token, Revision::June2025).await;
    for modern in [true, false] {
        let mut uris = HashSet::new();
        let mut params = json!({});
        loop {
            let page = if modern {
                ada.call("resources/list", params.clone()).await
            } else {
                session.call("resources/list", params.clone()).await
            };
            for resource in page.result()["resources"].as_array().unwrap() {
                let uri = resource["uri"].as_str().unwrap().to_owned();
                assert!(uris.insert(uri.clone()), "{uri} comes twice");
            }
            match page.result().get("nextCursor") {
                Some(cursor) => params["cursor"] = cursor.clone(),
                None => break,
            }
        }
        assert_eq!(uris.len(), 131, "every note, and the newest ones together");
        assert!(uris.contains("notes://recent"));
    }
}

async fn thousands_of_resources_take_few_pages(database: Database) {
    let cluster = notes_on(database).await;
    let user = UserId::new("dev:ada");
    for number in 0..2_100 {
        let draft = Draft {
            title: Title::parse(&format!("Note {number}")).unwrap(),
            body: Body::parse("x".repeat(300)).unwrap(),
            tags: Tags::default(),
        };
        store::create(cluster.app().state(), &user, draft).await.unwrap();
    }
    let ada = cluster.web(0).modern(cluster.token("ada").await);
    let (mut uris, mut params, mut pages) = (HashSet::new(), json!({}), 0);
    loop {
        let page = ada.call("resources/list", params.clone()).await;
        pages += 1;
        for resource in page.result()["resources"].as_array().unwrap() {
            assert!(uris.insert(resource["uri"].as_str().unwrap().to_owned()));
        }
        match page.result().get("nextCursor") {
            Some(cursor) => params["cursor"] = cursor.clone(),
            None => break,
        }
    }
    assert_eq!((uris.len(), pages), (2_101, 3));
}

async fn a_note_that_comes_in_between_moves_nothing(database: Database) {
    let cluster = notes_on(database).await;
    let ada = cluster.web(0).modern(cluster.token("ada").await);
    create(&cluster, &ada, 4).await;
    let first = ada.tool("notes_list", json!({ "limit": 2 })).await;
    ada.tool("notes_create", json!({ "title": "In between", "body": "" })).await.output();
    let cursor = &first.output()["next_cursor"];
    let second = ada.tool("notes_list", json!({ "limit": 2, "cursor": cursor })).await;
    let titles: Vec<&Value> =
        second.output()["notes"].as_array().unwrap().iter().map(|note| &note["title"]).collect();
    assert_eq!(titles, ["Note 1", "Note 0"]);
}

#[tokio::test]
async fn a_cursor_that_is_not_ours_is_refused() {
    let cluster = Setup::new(Database::Sqlite).product(notes::product).start().await;
    let token = cluster.token("ada").await;
    let ada = cluster.web(0).modern(&token);
    let session = cluster.web(0).legacy(&token, Revision::November2025).await;
    for cursor in ["x", "0", "AAAA", "../../etc/passwd", "eyJ9"] {
        for method in ["tools/list", "prompts/list", "resources/list", "resources/templates/list"] {
            let params = json!({ "cursor": cursor });
            assert_eq!(ada.call(method, params.clone()).await.code(), -32602, "{method} {cursor}");
            assert_eq!(session.call(method, params).await.code(), -32602, "{method} {cursor}");
        }
        let refused = ada.tool("notes_list", json!({ "cursor": cursor })).await;
        assert!(refused.tool_error().contains("cursor"), "{}", refused.tool_error());
    }
}

#[tokio::test]
async fn lists_keep_their_order() {
    let cluster = Setup::new(Database::Postgres).product(notes::product).instances(2).start().await;
    let ada = cluster.web(0).modern(cluster.token("ada").await);
    let bob = cluster.web(1).modern(cluster.token("bob").await);
    for method in ["tools/list", "prompts/list", "resources/templates/list"] {
        let first = ada.call(method, Value::Null).await;
        for other in [&ada, &bob] {
            assert_eq!(other.call(method, Value::Null).await.result(), first.result());
        }
    }
}
