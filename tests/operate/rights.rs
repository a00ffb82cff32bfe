//! `notes-mcp check` finds the rights that the user of Redis and the role of Postgres lack, and names
//! what grants them. With real servers, since their answers are what is read.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use mcp::{Stores, store::redis::Connection};
use platform::clock::{Clock, MockClock, SystemClock};
use sea_orm::ConnectionTrait as _;
use tests::{
    postgres,
    redis::{Server, content_keys, fresh_prefix},
    store_suite,
};

use crate::commands::{connected, environment, run};

const PASSWORD: &str = "the-password-of-the-user";

/// `notes-mcp check` with these settings besides a folder: its exit code, and what it said.
async fn check(settings: HashMap<String, String>) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let mut with = settings;
    with.insert("DATA_DIR".into(), folder.path().display().to_string());
    if !with.contains_key("DATABASE_URL") {
        let (code, said) = run(&["notes-mcp", "migrate"], &with).await;
        assert_eq!(code, Some(0), "{said}");
    }
    let (code, said) = run(&["notes-mcp", "check"], &with).await;
    assert!(!said.contains(PASSWORD), "{said}");
    (code, said)
}

/// The text between backquotes after `run`.
fn remedy(said: &str) -> String {
    let (_, rest) = said.split_once("run `").unwrap_or_else(|| panic!("no remedy: {said}"));
    rest.split_once('`').unwrap().0.to_owned()
}

#[tokio::test]
async fn what_a_user_of_redis_lacks_is_named_and_the_remedy_works() {
    let server = Server::start().await;
    let prefix = fresh_prefix();
    let url = server.url().replacen("redis://", &format!("redis://app:{PASSWORD}@"), 1);
    let settings = environment(&[("REDIS_URL", &url), ("REDIS_PREFIX", &prefix)]);
    for (rules, named) in [
        (format!("~{prefix}* +@all"), "use all channels"),
        (format!("~{prefix}mcp:* &{prefix}* +@all"), "read and write all keys"),
        (format!("%R~{prefix}* &{prefix}* +@all"), "read and write all keys"),
        (format!("~{prefix}* &{prefix}user:* +@all"), "use all channels"),
        (format!("~{prefix}* &{prefix}* +@all -subscribe"), "run SUBSCRIBE"),
        (format!("~{prefix}* &{prefix}* +@all -xadd -evalsha"), "run XADD, EVALSHA"),
        (format!("~{prefix}* &{prefix}* +@all -script|load"), "run SCRIPT LOAD"),
        (format!("~{prefix}* &{prefix}* +@all -exec"), "run EXEC"),
    ] {
        let reset = format!("ACL SETUSER app reset on >{PASSWORD} {rules}");
        assert!(server.run(&reset).await.starts_with("+OK"), "{rules}");
        let (code, said) = check(settings.clone()).await;
        assert_eq!(code, Some(69), "{rules}: {said}");
        assert!(said.contains("problem  redis"), "{rules}: {said}");
        assert!(said.contains(named), "{rules}: {said}");
        let command = remedy(&said);
        assert!(server.run(&command).await.starts_with("+OK"), "{command}");
        let (code, said) = check(settings.clone()).await;
        assert_eq!(code, Some(0), "{rules}, then {command}: {said}");
    }
    let left = server.run("DBSIZE").await;
    assert_eq!(left.trim(), ":0", "a check leaves no key behind");
}

#[tokio::test]
async fn a_redis_that_takes_no_writes_is_a_problem() {
    let server = Server::start().await;
    assert!(server.run("CONFIG SET maxmemory 1").await.starts_with("+OK"));
    let (code, said) = check(environment(&[("REDIS_URL", server.url())])).await;
    assert_eq!(code, Some(69), "{said}");
    assert!(said.contains("problem  redis"), "{said}");
}

#[tokio::test]
async fn what_a_role_of_postgres_lacks_is_named_and_the_remedy_works() {
    let owner_url = postgres::fresh_database(&notes::product()).await;
    let owner = connected(&owner_url).await;
    let role = format!("role_{:016x}", rand::random::<u64>());
    let create = format!("CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'");
    owner.execute_unprepared(&create).await.unwrap();
    let url = owner_url.replacen("postgres@", &format!("{role}:{PASSWORD}@"), 1);
    assert_ne!(url, owner_url);
    let settings = environment(&[("DATABASE_URL", &url)]);

    let (code, said) = check(settings.clone()).await;
    assert_eq!(code, Some(69), "{said}");
    let tables = "SELECT tablename::text AS name FROM pg_tables WHERE schemaname = 'public'";
    let backend = owner.get_database_backend();
    let tables = owner.query_all_raw(sea_orm::Statement::from_string(backend, tables)).await;
    let tables: BTreeSet<String> =
        tables.unwrap().iter().map(|row| row.try_get("", "name").unwrap()).collect();
    assert!(tables.len() > 10);
    for table in &tables {
        assert!(said.contains(&format!(" {table}")), "{table} is checked: {said}");
    }
    owner.execute_unprepared(&remedy(&said)).await.unwrap();
    let (code, said) = check(settings.clone()).await;
    assert_eq!(code, Some(0), "{said}");

    let revoke = format!("REVOKE UPDATE, DELETE ON jobs FROM {role}");
    owner.execute_unprepared(&revoke).await.unwrap();
    let (code, said) = check(settings.clone()).await;
    assert_eq!(code, Some(69), "{said}");
    assert!(said.contains("lacks UPDATE, DELETE on jobs:"), "{said}");
    owner.execute_unprepared(&remedy(&said)).await.unwrap();

    let read_only = format!("ALTER ROLE {role} SET default_transaction_read_only = on");
    owner.execute_unprepared(&read_only).await.unwrap();
    let (code, said) = check(settings.clone()).await;
    assert_eq!(code, Some(69), "{said}");
    assert!(said.contains("read-only"), "{said}");
    owner.close().await.unwrap();
}

/// What the library sends to introduce a connection; a user that may not is not refused.
const INTRODUCTIONS: [&str; 3] = ["AUTH", "CLIENT", "HELLO"];

#[expect(clippy::disallowed_methods, reason = "time of a real server cannot be advanced")]
#[tokio::test(flavor = "multi_thread")]
async fn every_command_that_the_stores_send_is_checked() {
    let server = Server::start().await;
    let connection = || Connection::new(server.url(), &fresh_prefix()).unwrap();
    let stores =
        async |session_ttl| Stores::in_redis(&connection(), session_ttl, content_keys()).unwrap();
    store_suite::run(stores, tokio::time::sleep).await;
    let clock = Arc::new(MockClock::at(SystemClock.now()));
    let shared = connection();
    let time: Arc<dyn Clock> = Arc::<MockClock>::clone(&clock);
    let instances = [(); 2].map(|()| oauth::Stores::in_redis(&shared, &time, content_keys()));
    tests::oauth_suite::run(&instances[0], &instances[1], &clock).await;

    let checked: BTreeSet<_> = app::redis::commands().collect();
    let stats = server.run("INFO commandstats").await;
    let sent: BTreeSet<_> = stats
        .lines()
        .filter_map(|line| line.strip_prefix("cmdstat_")?.split(':').next())
        .map(|name| name.to_uppercase().replace('|', " "))
        .filter(|name| !INTRODUCTIONS.iter().any(|it| name.starts_with(it)))
        .collect();
    assert!(sent.len() > 20, "{stats}");
    let unchecked: Vec<_> = sent.iter().filter(|it| !checked.contains(it.as_str())).collect();
    assert!(unchecked.is_empty(), "{unchecked:?}");
}
