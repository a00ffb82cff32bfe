//! Behind `PgBouncer` in transaction mode, where each transaction may meet another connection of the
//! database: what is kept in a connection, such as a setting or a lock, would be lost or meet others.

use std::{collections::HashMap, fs, path::PathBuf};

use futures_util::future::join_all;
use sea_orm::{ConnectionTrait as _, Statement};
use serde_json::json;
use tempfile::TempDir;
use tests::{
    eventually, postgres,
    processes::{Fleet, Kind, Plan, Program, Recipe, free_port},
};
use url::Url;

use crate::{
    commands::{connected, empty_database, environment, run},
    prometheus::program,
};

/// Connections to the database: fewer than the programs believe that they have, so that they change
/// hands with almost every transaction.
const CONNECTIONS: u32 = 2;

/// People who do something at once.
const PEOPLE: usize = 12;

/// A `PgBouncer` before one database.
struct Bouncer {
    /// The database through it.
    url: String,
    _running: Program,
    _folder: TempDir,
}

impl Bouncer {
    async fn before(database: &str) -> Self {
        let mut url = Url::parse(database).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        // It does not run as root.
        let user = if rustix::process::geteuid().is_root() { "user = nobody" } else { "" };
        let password = url.password().map(|it| format!("password={it}")).unwrap_or_default();
        let settings = format!(
            "[databases]\n\
             * = host={} port={} user={} {password}\n\
             [pgbouncer]\n\
             {user}\n\
             listen_addr = 127.0.0.1\n\
             listen_port = {port}\n\
             unix_socket_dir =\n\
             auth_type = any\n\
             pool_mode = transaction\n\
             default_pool_size = {CONNECTIONS}\n\
             max_prepared_statements = 200\n\
             ignore_startup_parameters = options, extra_float_digits\n",
            url.host_str().unwrap(),
            url.port().unwrap(),
            url.username(),
        );
        fs::write(folder.path().join("pgbouncer.ini"), settings).unwrap();
        let running = Program::start(Recipe {
            name: "pgbouncer".to_owned(),
            program: program("pgbouncer"),
            arguments: vec!["pgbouncer.ini".into()],
            environment: HashMap::new(),
            folder: PathBuf::from(folder.path()),
        });
        url.set_port(Some(port)).unwrap();
        eventually("PgBouncer answers", async || {
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok()
        })
        .await;
        Self { url: url.into(), _running: running, _folder: folder }
    }
}

/// How many connections there are to a database, besides this one.
async fn connections(database: &str) -> i64 {
    let db = connected(database).await;
    let asked = "SELECT count(*) AS number FROM pg_stat_activity \
        WHERE datname = current_database() AND pid <> pg_backend_pid()";
    let row = db.query_one_raw(Statement::from_string(db.get_database_backend(), asked));
    let number = row.await.unwrap().unwrap().try_get("", "number").unwrap();
    db.close().await.unwrap();
    number
}

/// One person writes a note at one instance, changes and finds it at others, and imports some more.
async fn write_and_read(fleet: &Fleet, person: usize) {
    let token = fleet.token(&format!("person-{person}")).await;
    let at = |step: usize| fleet.web((person + step) % fleet.len()).modern(token.as_str());
    let title = format!("Note of person {person}");
    let made = at(0).tool("notes_create", json!({ "title": title, "body": "first" })).await;
    let id = made.result()["structuredContent"]["id"].clone();
    let changed = at(1).tool("notes_update", json!({ "id": id, "body": "second" })).await;
    assert_ne!(changed.result()["isError"], true, "{}", changed.result());
    let documents: Vec<_> =
        (0..30).map(|it| json!({ "title": format!("Imported {it}"), "body": "x" })).collect();
    let import = json!({ "text": json!(documents).to_string(), "on_conflict": "skip" });
    let imported = at(2).tool("notes_import", import).await;
    assert_ne!(imported.result()["isError"], true, "{}", imported.result());
    let found = at(3).tool("notes_search", json!({ "query": "second" })).await;
    assert!(found.text().contains(&title), "{}", found.text());
    let listed = at(4).tool("notes_list", json!({ "limit": 50 })).await;
    let listed = listed.result()["structuredContent"]["notes"].as_array().unwrap().len();
    assert_eq!(listed, 31);
}

#[tokio::test]
async fn instances_and_workers_share_few_connections_behind_pgbouncer() {
    let database = postgres::fresh_database(&notes::product()).await;
    let bouncer = Bouncer::before(&database).await;
    let plan = Plan::new(Kind::Product(notes::product))
        .instances(2)
        .workers(1)
        .with("DATABASE_URL", &bouncer.url);
    let fleet = plan.start().await;
    join_all((0..PEOPLE).map(|person| write_and_read(&fleet, person))).await;
    let shared = connections(&database).await;
    assert!((1..=i64::from(CONNECTIONS)).contains(&shared), "{shared} connections are used");
}

#[tokio::test]
async fn migrations_run_through_pgbouncer() {
    let bouncer = Bouncer::before(&empty_database().await).await;
    let through = environment(&[("DATABASE_URL", &bouncer.url)]);
    for words in [
        &["notes-mcp", "migrate", "up"][..],
        &["notes-mcp", "migrate", "down"],
        &["notes-mcp", "migrate", "up"],
        &["notes-mcp", "check"],
    ] {
        let (code, said) = run(words, &through).await;
        assert_eq!(code, Some(0), "{words:?}: {said}");
    }
}
