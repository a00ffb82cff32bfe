//! The programs as somebody types them: what they say, and how they end.

use std::{collections::HashMap, path::PathBuf};

use sea_orm::{
    ConnectOptions, ConnectionTrait as _, Database, DatabaseConnection, TransactionTrait as _,
};
use tempfile::TempDir;
use tests::{
    eventually, postgres,
    processes::{Program, Recipe, built},
};

/// Starts one of our programs with these variables and no others.
fn start(
    folder: &TempDir,
    name: &str,
    words: &[&str],
    environment: &HashMap<String, String>,
) -> Program {
    let program = words.first().copied().unwrap_or("notes-mcp");
    Program::start(Recipe {
        name: name.to_owned(),
        program: built(program),
        arguments: words.iter().skip(1).map(Into::into).collect(),
        environment: environment.clone(),
        folder: PathBuf::from(folder.path()),
    })
}

/// Runs one to its end: its exit code, and what it said.
pub(crate) async fn run(
    words: &[&str],
    environment: &HashMap<String, String>,
) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let mut program = start(&folder, "one", words, environment);
    let status = program.ended().await;
    (status.code(), program.log())
}

pub(crate) fn environment(variables: &[(&str, &str)]) -> HashMap<String, String> {
    variables.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

pub(crate) async fn connected(url: &str) -> DatabaseConnection {
    let mut options = ConnectOptions::new(url);
    options.max_connections(2).sqlx_logging(false);
    Database::connect(options).await.unwrap()
}

/// A database without our tables.
pub(crate) async fn empty_database() -> String {
    let url = postgres::fresh_database(&notes::product()).await;
    let db = connected(&url).await;
    notes::product().schema().revert(&db, 1_000).await.unwrap();
    db.close().await.unwrap();
    url
}

#[tokio::test]
async fn a_wrong_environment_is_told_in_full_and_ends_with_64() {
    const SECRET: &str = "hunter2-hunter2";
    let wrong = environment(&[
        ("PUBLIC_URL", "https://notes.example.com"),
        ("PORT", "eighty"),
        ("DATABASE_URL", &format!("mysql://me:{SECRET}@db/notes")),
        ("JWT_SIGNING_SECRET", SECRET),
        ("GITHUB_CLIENT_ID", "only-half"),
        ("ACCESS_TOKEN_TTL", "forever"),
        ("METRICS_TOKEN", SECRET),
        ("OTEL_EXPORTER_OTLP_HEADERS", &format!("api-key {SECRET}")),
        ("OTEL_TRACES_SAMPLER_ARG", "2"),
    ]);
    for program in ["notes-mcp", "notes-mcp-worker"] {
        let (code, said) = run(&[program], &wrong).await;
        assert_eq!(code, Some(64), "{said}");
        let lines: Vec<_> = said.lines().collect();
        for variable in [
            "PORT",
            "DATABASE_URL",
            "JWT_SIGNING_SECRET",
            "GITHUB_CLIENT_SECRET",
            "REDIS_URL",
            "ACCESS_TOKEN_TTL",
            "METRICS_TOKEN",
            "OTEL_EXPORTER_OTLP_HEADERS",
            "OTEL_TRACES_SAMPLER_ARG",
        ] {
            let about = lines.iter().filter(|it| it.split(' ').next() == Some(variable)).count();
            assert_eq!(about, 1, "one line about {variable}:\n{said}");
        }
        assert_eq!(lines.len(), 9, "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
    for words in [
        &["notes-mcp", "fly"][..],
        &["notes-mcp", "migrate", "sideways"],
        &["notes-mcp-worker", "once", "never"],
    ] {
        let (code, said) = run(words, &environment(&[])).await;
        assert_eq!(code, Some(64), "{words:?}: {said}");
    }
}

#[tokio::test]
async fn check_says_what_it_found_and_starts_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().display().to_string();
    let database = postgres::fresh_database(&notes::product()).await;
    let good = environment(&[("DATA_DIR", &data), ("DATABASE_URL", &database)]);
    let (code, said) = run(&["notes-mcp", "check"], &good).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("ok       database"), "{said}");
    for (variables, lines) in [
        (
            &[][..],
            &[
                "everyone with a GitHub account may sign in",
                "requests         to other servers go directly",
                "are fetched from the addresses",
            ][..],
        ),
        (
            &[
                ("HTTPS_PROXY", "http://me:hunter2@proxy.example.com:3128"),
                ("CLIENT_METADATA_DOCUMENTS", "off"),
            ],
            &["https through http://proxy.example.com:3128", "so that clients register instead"],
        ),
        (&[("ALLOWED_GITHUB_LOGINS", "a,b")], &["the 2 accounts of ALLOWED_GITHUB_LOGINS"]),
        (
            &[("ALLOWED_GITHUB_ORG", "octo-org")],
            &["members of the GitHub organization octo-org", "derived from JWT_SIGNING_SECRET"],
        ),
        (
            &[("ALLOWED_GITHUB_ORG", "octo-org"), ("DATA_KEYS", &"k".repeat(32))],
            &["members of the GitHub organization octo-org", "the first key of DATA_KEYS"],
        ),
    ] {
        let mut with = good.clone();
        with.extend(environment(variables));
        // A GitHub that does not answer: only who may sign in is of interest.
        with.extend(environment(&[
            ("GITHUB_CLIENT_ID", "x"),
            ("GITHUB_CLIENT_SECRET", "x"),
            ("GITHUB_URL", "http://127.0.0.1:1"),
            ("GITHUB_API_URL", "http://127.0.0.1:1"),
        ]));
        let (_, said) = run(&["notes-mcp", "check"], &with).await;
        for line in lines {
            assert!(said.contains(line), "{line}: {said}");
        }
        assert!(!said.contains("hunter2"), "{said}");
    }

    let mut away = good.clone();
    away.insert("DATABASE_URL".into(), "postgres://postgres:hunter2@127.0.0.1:1/notes".into());
    away.insert("REDIS_URL".into(), "redis://:hunter2@127.0.0.1:1".into());
    let (code, said) = run(&["notes-mcp", "check"], &away).await;
    assert_eq!(code, Some(69), "{said}");
    for thing in ["problem  database", "problem  redis", "2 dependencies"] {
        assert!(said.contains(thing), "{thing}: {said}");
    }
    assert!(!said.contains("hunter2"), "{said}");

    let unmigrated = environment(&[("DATA_DIR", &data), ("DATABASE_URL", &empty_database().await)]);
    let (code, said) = run(&["notes-mcp", "check"], &unmigrated).await;
    assert_eq!(code, Some(69), "{said}");
    assert!(said.contains("run `notes-mcp migrate up`"), "{said}");
}

#[tokio::test]
async fn processes_that_migrate_at_once_take_turns() {
    let database = empty_database().await;
    let settings = environment(&[("DATABASE_URL", &database)]);
    let folder = tempfile::tempdir().unwrap();

    // Whoever holds the lock keeps all others waiting.
    let db = connected(&database).await;
    let lock = db.begin().await.unwrap();
    let name = i64::from_be_bytes(*b"notes-mc");
    lock.execute_unprepared(&format!("SELECT pg_advisory_xact_lock({name})")).await.unwrap();
    let words = ["notes-mcp", "migrate", "up"];
    let mut one = start(&folder, "one", &words, &settings);
    let mut other = start(&folder, "other", &words, &settings);
    let waiting = "SELECT count(*) AS number FROM pg_locks l \
        JOIN pg_database d ON d.oid = l.database AND d.datname = current_database() \
        WHERE l.locktype = 'advisory' AND NOT l.granted";
    eventually("both wait", async || {
        let row = sea_orm::Statement::from_string(db.get_database_backend(), waiting);
        let row = db.query_one_raw(row).await.unwrap().unwrap();
        (row.try_get::<i64>("", "number").unwrap() == 2).then_some(())
    })
    .await;
    lock.commit().await.unwrap();
    for program in [&mut one, &mut other] {
        let status = program.ended().await;
        assert!(status.success(), "{}", program.log());
        assert!(program.log().contains("The schema is up to date."), "{}", program.log());
    }
    let steps = notes::product().schema().status(&db).await.unwrap();
    assert!(steps.iter().all(|it| it.applied), "{steps:?}");
}

#[tokio::test]
async fn the_schema_goes_up_down_and_up_by_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = format!("sqlite:{}", folder.path().join("notes.db").display());
    for database in [empty_database().await, file] {
        let data = folder.path().display().to_string();
        let settings = environment(&[("DATABASE_URL", &database), ("DATA_DIR", &data)]);
        let migrate = async |words: &[&str]| {
            let (code, said) = run(&[&["notes-mcp", "migrate"], words].concat(), &settings).await;
            assert_eq!(code, Some(0), "{words:?}: {said}");
            (said.matches("applied  m").count(), said.matches("missing  m").count())
        };
        let (_, all) = migrate(&["status"]).await;
        assert!(all > 5, "nothing is there yet: {all}");
        migrate(&["up"]).await;
        assert_eq!(migrate(&["status"]).await, (all, 0));
        assert_eq!(migrate(&["down"]).await, (all - 1, 1));
        assert_eq!(migrate(&["down", "--steps", "1000"]).await, (0, all));
        migrate(&[]).await;
        assert_eq!(migrate(&["status"]).await, (all, 0));
    }
}

#[tokio::test]
async fn a_service_client_is_created_listed_and_revoked_by_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().display().to_string();
    let file = format!("sqlite:{}", folder.path().join("notes.db").display());
    for database in [postgres::fresh_database(&notes::product()).await, file] {
        let settings = environment(&[("DATABASE_URL", &database), ("DATA_DIR", &data)]);
        let clients = async |words: &[&str]| {
            run(&[&["notes-mcp", "clients"], words].concat(), &settings).await
        };
        let create = ["create", "--name", "nightly", "--scopes", "notes:read"];
        let (code, said) = clients(&create).await;
        assert_eq!(code, Some(0), "{said}");
        let value = |name: &str| {
            let line = said.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("no {name}: {said}")).to_owned()
        };
        let (id, secret) = (value("client_id="), value("client_secret="));
        assert!(id.starts_with("msc_") && secret.starts_with("mcs_"), "{said}");
        assert!(said.contains("service:nightly") && said.contains("CLIENT_CREDENTIALS"), "{said}");

        let (code, said) = clients(&["list", "--json"]).await;
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains(&id) && said.contains("\"kind\":\"service\""), "{said}");
        assert!(!said.contains(&secret) && !said.contains("\"revoked\""), "{said}");
        let (code, said) = clients(&["revoke", &id]).await;
        assert_eq!(code, Some(0), "{said}");
        let (code, said) = clients(&["revoke", &id]).await;
        assert_eq!(code, Some(1), "{said}");
        let (_, said) = clients(&["list", "--json"]).await;
        assert!(said.contains("\"revoked\""), "{said}");

        let private = folder.path().join("private.json");
        let key = r#"{"keys": [{"kty": "EC", "crv": "P-256", "d": "hunter2"}]}"#;
        std::fs::write(&private, key).unwrap();
        let private = private.display().to_string();
        for (wrong, problem) in [
            (&["--name", "A b", "--scopes", "notes:read"][..], "a-z 0-9"),
            (&["--name", "a", "--scopes", "notes:admin"], "no scope `notes:admin`"),
            (&["--name", "a", "--scopes", " "], "at least one of"),
            (&["--name", "a", "--scopes", "notes:read", "--jwks", &private], "private key"),
            (&["--name", "a", "--scopes", "notes:read", "--jwks", "/none"], "could not read"),
            (&["--name", "a", "--scopes", "notes:read", "--jwks-uri", "http://a.example"], "https"),
            (
                &["--name", "a", "--scopes", "notes:read", "--jwks-uri", "https://10.0.0.1/k"],
                "public host name",
            ),
        ] {
            let (code, said) = clients(&[&["create"], wrong].concat()).await;
            assert!(code.is_some_and(|code| code > 0), "{wrong:?}: {said}");
            assert!(said.contains(problem) && !said.contains("hunter2"), "{wrong:?}: {said}");
        }
    }
}
