//! Fairness between users: however many statements one user causes, the others get a database connection,
//! at every instance.

use std::time::Duration;

use http::StatusCode;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, Statement};
use serde_json::{Value, json};
use tests::{
    client::{Answer, Modern},
    cluster::{Cluster, Database, Setup},
    eventually,
    schema::Revision,
};
use tokio::task::JoinSet;

/// Database connections of one instance.
const POOL: u32 = 5;

/// How many of them one user may use.
const SHARE: i64 = 2;

const INSTANCES: usize = 2;

async fn cluster() -> Cluster {
    Setup::new(Database::Postgres)
        .product(notes::product)
        .instances(INSTANCES)
        .with("DATABASE_MAX_CONNECTIONS", POOL.to_string())
        .with("RATE_LIMIT_PER_MINUTE", "0")
        .start()
        .await
}

async fn create(client: &Modern, title: &str) -> String {
    let note = json!({ "title": title, "body": "about tea" });
    let answer = client.tool("notes_create", note).await;
    answer.output()["id"].as_str().expect("a note has an id").to_owned()
}

/// Requests that a client sends at the same time.
async fn works_for(client: &Modern) {
    for (method, params) in [
        ("tools/call", json!({ "name": "notes_list", "arguments": {} })),
        ("tools/call", json!({ "name": "notes_search", "arguments": { "query": "tea" } })),
        ("tools/call", json!({ "name": "jobs_list", "arguments": {} })),
        ("resources/list", json!({})),
        ("resources/read", json!({ "uri": "notes://recent" })),
        ("prompts/get", json!({ "name": "weekly_review", "arguments": {} })),
    ] {
        let answer = client.call(method, params).await;
        assert_eq!(answer.status, 200, "{method}: {:#}", answer.message);
        assert!(answer.message["error"].is_null(), "{method}: {:#}", answer.message);
        assert_ne!(answer.message["result"]["isError"], true, "{method}: {:#}", answer.message);
    }
}

/// A refusal that says when to come back, as every other one does. On a machine that is very slow the
/// answer was a stream before, and its status is sent already.
fn is_refusal(answer: &Answer) {
    assert_eq!(answer.code(), 429, "{:#}", answer.message);
    if answer.header("content-type") == "application/json" {
        assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS, "{:#}", answer.message);
        assert_eq!(answer.header("retry-after"), "1");
    }
    assert_eq!(answer.message["error"]["data"]["retryAfterSeconds"], 1);
    let message = answer.message["error"]["message"].as_str().unwrap();
    assert!(message.contains("wait a second, then try again"), "{message}");
}

fn statement(sql: &str) -> Statement {
    Statement::from_string(DbBackend::Postgres, sql)
}

/// A separate database connection of the test.
async fn beside(cluster: &Cluster) -> DatabaseConnection {
    cluster.app().db().schema_connection().await.unwrap()
}

/// Number of statements that wait for a lock.
async fn waiting(db: &DatabaseConnection) -> i64 {
    const SQL: &str = "SELECT count(*) AS waiting FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let row = db.query_one_raw(statement(SQL)).await.unwrap().unwrap();
    row.try_get("", "waiting").unwrap()
}

#[tokio::test]
async fn statements_of_one_person_leave_connections_for_the_others() {
    let cluster = cluster().await;
    let ada = cluster.web(0).modern(cluster.token("ada").await);
    let bob = cluster.web(0).modern(cluster.token("bob").await);
    let note = create(&ada, "Held").await;

    // Whatever changes the note waits until the test lets it go.
    let holder = beside(&cluster).await;
    let observer = beside(&cluster).await;
    holder.execute_unprepared("BEGIN; SELECT 1 FROM notes FOR UPDATE").await.unwrap();
    let mut calls = JoinSet::new();
    for number in 0..30 {
        let ada = ada.at(cluster.web(number % INSTANCES));
        let change = json!({ "id": note, "title": format!("Change {number}") });
        calls.spawn(async move { ada.tool("notes_update", change).await });
    }
    let all = SHARE * i64::try_from(INSTANCES).unwrap();
    eventually("statements wait", async || (waiting(&observer).await >= all).then_some(())).await;
    while !calls.is_empty() {
        for index in 0..INSTANCES {
            works_for(&bob.at(cluster.web(index))).await;
            let waiting = waiting(&observer).await;
            assert!(waiting <= all, "{waiting} statements of one person wait");
        }
        while let Some(answer) = calls.try_join_next() {
            let answer = answer.unwrap();
            if answer.message["error"].is_null() {
                assert!(answer.tool_error().contains("try again"));
            } else {
                is_refusal(&answer);
            }
        }
    }
    holder.execute_unprepared("ROLLBACK").await.unwrap();
    works_for(&ada).await;
}

/// What a search of ada's in another process does.
const LOCK: &str = "SELECT pg_advisory_lock(1718185572,
    ('x' || left(encode(sha256('dev:ada'), 'hex'), 8))::bit(32)::int)";

#[tokio::test]
async fn one_person_searches_once_at_a_time_on_all_instances() {
    let cluster = cluster().await;
    let ada = cluster.web(0).modern(cluster.token("ada").await);
    let bob = cluster.web(1).modern(cluster.token("bob").await);
    create(&ada, "Tea").await;
    let search = json!({ "query": "tea" });

    let other = beside(&cluster).await;
    other.execute_unprepared(LOCK).await.unwrap();
    let mut calls = JoinSet::new();
    for number in 0..12 {
        let ada = ada.at(cluster.web(number % INSTANCES));
        let search = search.clone();
        calls.spawn(async move { ada.tool("notes_search", search).await });
    }
    while !calls.is_empty() {
        for index in 0..INSTANCES {
            works_for(&bob.at(cluster.web(index))).await;
        }
        while let Some(answer) = calls.try_join_next() {
            is_refusal(&answer.unwrap());
        }
    }
    let legacy = cluster.web(1).legacy(cluster.token("ada").await, Revision::November2025).await;
    is_refusal(&legacy.tool("notes_search", search.clone()).await);

    other.execute_unprepared("SELECT pg_advisory_unlock_all()").await.unwrap();
    let found = ada.tool("notes_search", search).await;
    assert_eq!(found.output()["notes"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn a_question_of_too_many_words_says_what_to_change() {
    for database in [Database::Sqlite, Database::Postgres] {
        let cluster = Setup::new(database).product(notes::product).start().await;
        let ada = cluster.web(0).modern(cluster.token("ada").await);
        let question = |words: u32| {
            let words: Vec<String> = (0..words).map(|it| format!("w{it}")).collect();
            json!({ "query": words.join(" ") })
        };
        let refused = ada.tool("notes_search", question(39)).await;
        let message = refused.tool_error();
        assert!(message.contains("at most 32 words, and this one has 39: leave out"), "{message}");
        let found = ada.tool("notes_search", question(32)).await;
        assert_eq!(found.output()["notes"], Value::Array(Vec::new()));
    }
}

#[tokio::test]
async fn a_search_of_many_words_finds_all_and_ranks_by_how_often_they_occur() {
    for database in [Database::Sqlite, Database::Postgres] {
        let cluster = Setup::new(database).product(notes::product).start().await;
        let ada = cluster.web(0).modern(cluster.token("ada").await);
        for (title, times) in [("Often", 20), ("Once", 1), ("Other", 0)] {
            let body = format!("green black white red {}", "tea ".repeat(times));
            ada.tool("notes_create", json!({ "title": title, "body": body })).await;
            cluster.clock().advance(Duration::from_secs(1));
        }
        let search = json!({ "query": "tea green black white red" });
        let found = ada.tool("notes_search", search).await;
        let notes = found.output()["notes"].as_array().unwrap();
        let titles: Vec<_> = notes.iter().map(|it| it["title"].as_str().unwrap()).collect();
        match database {
            Database::Postgres => assert_eq!(titles, ["Often", "Once"]),
            // SQLite also prefers short notes.
            Database::Sqlite => assert_eq!(titles.len(), 2),
        }
    }
}
