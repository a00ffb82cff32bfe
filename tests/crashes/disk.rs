//! A disk that is full: a tmpfs of a few megabytes, filled by the test.

use std::collections::{BTreeMap, HashMap};

use rand::RngExt as _;
use serde_json::{Value, json};
use tests::{
    browser::{Browser, ClientApp, Code, answer},
    client::Web,
    eventually, fixtures,
    processes::{Kind, Plan, Postgres, Program, Recipe, SmallDisk, built, free_port},
    sqlite,
};

use crate::{
    REVISION,
    shown::{self, Shown},
};

/// The size of the disk of PostgreSQL in mebibytes. An empty server takes 40.
const POSTGRES_DISK: u32 = 96;

/// The size of the disk of SQLite in mebibytes.
const SQLITE_DISK: u32 = 8;

/// Length of the text of an item: some items fill a page, so that soon one needs more of the disk.
const TEXT: usize = 20_000;

/// Number of items after which a write must have been refused.
const MAX_ITEMS: usize = 500;

/// An item with a text that cannot be compressed.
fn large(title: &str) -> Value {
    let mut random = rand::rng();
    let body: String = (0..TEXT).map(|_| random.random_range('a'..='z')).collect();
    json!({ "title": title, "body": body })
}

/// The titles that were acknowledged, with the number of times.
#[derive(Default)]
struct Written(Vec<String>);

impl Written {
    /// Creates items until one is refused, and returns what the client was shown.
    async fn until_refused(&mut self, create: impl AsyncFn(Value) -> Shown) -> Shown {
        for _ in 0..MAX_ITEMS {
            let title = format!("item {}", self.0.len());
            let shown = create(large(&title)).await;
            if !shown.is_success() {
                return shown;
            }
            self.0.push(title);
        }
        panic!("{MAX_ITEMS} items fit onto a full disk");
    }

    /// Every acknowledged item is there once, and no other.
    async fn are_there(&self, list: impl AsyncFn(Value) -> Value) {
        let mut found: BTreeMap<String, usize> = BTreeMap::new();
        let mut cursor = Value::Null;
        loop {
            let mut arguments = json!({ "limit": 20 });
            if !cursor.is_null() {
                arguments["cursor"] = cursor;
            }
            let page = list(arguments).await;
            for item in page["items"].as_array().unwrap() {
                *found.entry(item["title"].as_str().unwrap().to_owned()).or_default() += 1;
            }
            cursor = page["next_cursor"].clone();
            if cursor.is_null() {
                break;
            }
        }
        for title in &self.0 {
            assert_eq!(found.remove(title), Some(1), "{title}");
        }
        assert!(found.is_empty(), "refused and yet there: {found:?}");
    }
}

#[tokio::test]
async fn a_full_disk_of_postgres_refuses_writes_until_there_is_room() {
    let mut server = Postgres::on_small_disk(POSTGRES_DISK).await;
    let database = server.database(&fixtures::product()).await;
    let fleet = Plan::new(Kind::Fixtures).instances(1).workers(1).on(database).start().await;
    let token = fleet.token("ada").await;
    let ada = fleet.web(0).legacy(&token, REVISION).await;
    let modern = fleet.web(0).modern(&token);
    let mut written = Written::default();
    server.disk().fill();

    let refused =
        written.until_refused(async |it| shown::modern(&modern, "items_create", it).await).await;
    assert!(refused.is_tool_error_to_retry(), "{refused:?}");
    for _ in 0..3 {
        let refused = shown::legacy(&ada, "items_create", large("refused")).await;
        assert!(refused.is_tool_error_to_retry(), "{refused:?}");
    }
    assert_eq!(fleet.web(0).get("/livez").await.status, 200);
    modern.call("tools/list", Value::Null).await.result();

    server.disk().free();
    // If the write-ahead log was what did not fit, the server has ended itself.
    if server.has_ended() {
        server.start_again().await;
    }
    eventually("items are created again", async || {
        let title = format!("item {}", written.0.len());
        let created = shown::modern(&modern, "items_create", large(&title)).await.is_success();
        created.then(|| written.0.push(title))
    })
    .await;
    eventually("it is ready again", async || {
        (fleet.web(0).get("/healthz").await.status == 200).then_some(())
    })
    .await;
    written.are_there(async |it| ada.tool("items_list", it).await.output().clone()).await;
}

/// One instance in embedded mode, whose data is on a small disk.
struct Embedded {
    // Ends before the disk.
    _program: Program,
    disk: SmallDisk,
    web: Web,
    origin: String,
    _folder: tempfile::TempDir,
}

impl Embedded {
    async fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("embedded-").tempdir().unwrap();
        let mounted = folder.path().join("disk");
        std::fs::create_dir(&mounted).unwrap();
        let disk = SmallDisk::mount(&mounted, SQLITE_DISK, folder.path()).await;
        sqlite::fresh_database(&fixtures::product(), &disk.seen_from_outside("")).await;
        let port = free_port();
        let origin = format!("http://127.0.0.1:{port}");
        let mut words = disk.enter();
        words.extend([built("test-tools").into(), "fixtures-web".into()]);
        let program = Program::start(Recipe {
            name: "embedded".to_owned(),
            program: words.remove(0).into(),
            arguments: words,
            environment: HashMap::from([
                ("PUBLIC_URL".to_owned(), origin.clone()),
                ("PORT".to_owned(), port.to_string()),
                ("DATA_DIR".to_owned(), mounted.display().to_string()),
                ("LOG_FORMAT".to_owned(), "json".to_owned()),
                ("RATE_LIMIT_PER_MINUTE".to_owned(), "100000".to_owned()),
            ]),
            folder: folder.path().to_owned(),
        });
        let web = Web::new(&origin);
        eventually("the instance answers", async || {
            let answer = web.request(reqwest::Method::GET, "/livez").send().await;
            answer.is_ok_and(|it| it.status().is_success()).then_some(())
        })
        .await;
        Self { _program: program, disk, web, origin, _folder: folder }
    }

    /// An access token of a person who signs in with a name.
    async fn token(&self) -> String {
        let app = ClientApp::register(&self.web).await;
        let asked = app.asks();
        let back = Browser::of(&self.origin, &self.web).follow(&asked.path()).await;
        let code = answer(&back)["code"].clone();
        let code = Code { code, verifier: asked.verifier, client_app: app };
        let tokens = code.redeem(&self.web).await.json();
        tokens["access_token"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn a_full_disk_of_sqlite_refuses_writes_until_there_is_room() {
    let embedded = Embedded::start().await;
    let token = embedded.token().await;
    let ada = embedded.web.legacy(&token, REVISION).await;
    let modern = embedded.web.modern(&token);
    let mut written = Written::default();
    embedded.disk.fill();

    let refused =
        written.until_refused(async |it| shown::modern(&modern, "items_create", it).await).await;
    assert!(refused.is_tool_error_to_retry(), "{refused:?}");
    let refused = shown::legacy(&ada, "items_create", large("refused")).await;
    assert!(refused.is_tool_error_to_retry(), "{refused:?}");
    // Reading goes on.
    for shown in [
        shown::modern(&modern, "items_list", json!({})).await,
        shown::legacy(&ada, "items_list", json!({})).await,
    ] {
        assert!(shown.is_success(), "{shown:?}");
    }

    embedded.disk.free();
    let title = format!("item {}", written.0.len());
    let created = shown::legacy(&ada, "items_create", large(&title)).await;
    assert!(created.is_success(), "{created:?}");
    written.0.push(title);
    written.are_there(async |it| ada.tool("items_list", it).await.output().clone()).await;
}
