//! Sign-in from outside: every case has the number under which it stands in the list of cases that a
//! server must refuse (N…) or must accept (P…), and runs over real HTTP on two instances with Postgres
//! and a GitHub of our own.

mod anywhere;
mod authorize;
mod callback;
mod consent;
mod documents;
mod doors;
mod dpop;
mod dpop_outages;
mod dpop_proofs;
mod dpop_tokens;
mod forged;
mod fuzz;
mod id_jag;
mod machine;
mod metadata;
mod openid;
mod races;
mod records;
mod redeem;
mod refresh;
mod register;
mod rotation;
mod shared_network;
mod tokens;
mod trouble;

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use entity::oauth_audit;
use sea_orm::{ConnectionTrait as _, EntityTrait as _, PaginatorTrait as _, QueryFilter as _};
use serde_json::{Value, json};
use tests::{
    browser::{Browser, ClientApp},
    client::{Page, Web},
    cluster::{Cluster, Database, Setup},
    documents::DocumentHost,
    eventually,
    github::GitHub,
};

/// Cases with a number alone: from the first to the last.
const NUMBERED: [(&str, std::ops::RangeInclusive<u8>); 5] =
    [("N", 1..=42), ("N", 50..=140), ("N", 180..=199), ("P", 1..=12), ("P", 20..=21)];

/// Cases with a letter behind the number.
const LETTERED: &str =
    "N59b N59c N69b N69c N98b N98c N98d N98e N112b N112c N122b N130b N130c N133b";

/// Cases that need a real browser, or the libraries of clients: where each is told, and how it is
/// known there.
const ELSEWHERE: [(&str, &str, &str); 3] = [
    ("N57", "browser/consent.mjs", "no policy stood in the way"),
    ("N58", "browser/consent.mjs", "nobody can put a page into theirs"),
    ("P12", "interop/run.mjs", "sign_in_strict.mjs"),
];

#[test]
fn every_case_is_told() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let here = fs::read_dir(tests.join("it/oauth")).unwrap();
    let files = here.map(|it| it.unwrap().path()).filter(|it| !it.ends_with("mod.rs"));
    let code: String = files.map(|it| fs::read_to_string(it).unwrap()).collect();
    // A comment proves nothing.
    let code = code.lines().filter(|it| !it.trim_start().starts_with("//"));
    let words: BTreeSet<String> = code
        .flat_map(|line| line.split(|it: char| !it.is_ascii_alphanumeric()))
        .map(str::to_ascii_uppercase)
        .collect();
    let numbered = NUMBERED
        .into_iter()
        .flat_map(|(letter, numbers)| numbers.map(move |number| format!("{letter}{number:02}")));
    for case in numbered.chain(LETTERED.split(' ').map(str::to_owned)) {
        match ELSEWHERE.iter().find(|(it, ..)| *it == case) {
            Some((_, file, how)) => {
                let told = fs::read_to_string(tests.join(file)).unwrap();
                assert!(told.contains(how), "{case} is not told in {file}");
            }
            None => assert!(words.contains(&case.to_uppercase()), "{case} is not told"),
        }
    }
}

/// Two instances, and the GitHub that they send people to.
struct Stage {
    cluster: Cluster,
    github: GitHub,
}

impl Stage {
    async fn new() -> Self {
        Self::with(&[]).await
    }

    async fn with(settings: &[(&'static str, &str)]) -> Self {
        let github = GitHub::start().await;
        let setup = Setup::new(Database::Postgres).instances(2).with_github(&github);
        let setup = settings.iter().fold(setup, |setup, &(name, value)| setup.with(name, value));
        Self { cluster: setup.start().await, github }
    }

    /// With clients that are whoever the documents on this host say.
    async fn with_documents() -> (Self, DocumentHost) {
        let (github, documents) = (GitHub::start().await, DocumentHost::start().await);
        let setup = Setup::new(Database::Postgres).instances(2);
        let setup = setup.with_github(&github).with_documents(&documents);
        (Self { cluster: setup.start().await, github }, documents)
    }

    fn one(&self) -> &Web {
        self.cluster.web(0)
    }

    fn other(&self) -> &Web {
        self.cluster.web(1)
    }

    fn browser(&self) -> Browser {
        Browser::new(&self.cluster)
    }

    async fn client_app(&self) -> ClientApp {
        ClientApp::register(self.one()).await
    }

    fn pass(&self, seconds: u64) {
        self.cluster.clock().advance(Duration::from_secs(seconds));
    }

    /// Whether an instance takes an access token.
    async fn takes(&self, web: &Web, token: &str) -> bool {
        let request = web.request(reqwest::Method::POST, "/mcp").bearer_auth(token);
        let request = request
            .header("x-forwarded-for", tests::browser::visitor())
            .header("content-type", "application/json")
            .header("accept", tests::client::ACCEPT)
            .body(json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" }).to_string());
        Page::read(request).await.status != 401
    }

    /// How often something stands in the audit log.
    async fn audited(&self, event: &str) -> u64 {
        oauth_audit::Entity::find()
            .filter(oauth_audit::COLUMN.event.eq(event))
            .count(self.cluster.app().db())
            .await
            .expect("the database is there")
    }

    /// Hides a table: every statement that needs it fails until it is back.
    async fn hide(&self, table: &str) {
        self.rename(table, &hidden(table)).await;
    }

    async fn bring_back(&self, table: &str) {
        self.rename(&hidden(table), table).await;
    }

    async fn rename(&self, from: &str, to: &str) {
        let statement = format!("ALTER TABLE {from} RENAME TO {to}");
        let db = self.cluster.app().db();
        db.execute_unprepared(&statement).await.expect("the table is there");
    }

    /// Both instances take it.
    async fn is_good(&self, token: &str) {
        for web in [self.one(), self.other()] {
            assert!(self.takes(web, token).await, "the token is good");
        }
    }

    /// Both instances refuse it, soon.
    async fn is_refused(&self, token: &str) {
        for web in [self.one(), self.other()] {
            eventually("the token is refused", async || {
                (!self.takes(web, token).await).then_some(())
            })
            .await;
        }
    }
}

/// The name of a hidden table. Each has its own: another connection of SQLite, whose copy of the schema is old,
/// would take a name that was used before for the table that had it then.
fn hidden(table: &str) -> String {
    format!("hidden_{table}")
}

/// A text in an answer of the token endpoint.
fn text(tokens: &Value, member: &str) -> String {
    tokens[member].as_str().expect("it is there").to_owned()
}

/// A program is told this error, in the form that programs understand.
fn told(case: &str, page: &Page, status: u16, error: &str) {
    assert_eq!(page.status, status, "{case}: {}", page.text());
    assert_eq!(page.json()["error"], error, "{case}: {}", page.text());
    assert_eq!(page.header("cache-control"), "no-store", "{case}");
    assert_eq!(page.header("access-control-allow-origin"), "*", "{case}");
}

/// A person sees a page, and nothing is sent anywhere.
fn shown(case: &str, page: &Page, status: u16) {
    assert_eq!(page.status, status, "{case}: {}", page.text());
    assert_eq!(page.header("location"), "", "{case}");
    let kind = page.header("content-type");
    assert!(kind.starts_with("text/html"), "{case}: {kind}");
    assert_eq!(page.header("x-frame-options"), "DENY", "{case}");
    let policy = page.header("content-security-policy");
    assert!(policy.contains("frame-ancestors 'none'"), "{case}: {policy}");
    assert_eq!(page.header("access-control-allow-origin"), "", "{case}");
}

/// The client gets this error with its state, and with our name exactly once.
fn sent_back(case: &str, page: &Page, issuer: &str, error: &str, state: Option<&str>) {
    assert_eq!(page.status, 303, "{case}: {}", page.text());
    let location = page.header("location");
    assert!(location.starts_with(tests::browser::REDIRECT_URI), "{case}: {location}");
    let answer = tests::browser::answer(location);
    assert_eq!(answer.get("error").map(String::as_str), Some(error), "{case}: {location}");
    assert_eq!(answer.get("state").map(String::as_str), state, "{case}: {location}");
    assert_eq!(answer.get("iss").map(String::as_str), Some(issuer), "{case}: {location}");
    assert_eq!(answer.get("code"), None, "{case}: {location}");
}
