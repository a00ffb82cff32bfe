//! Sign-in from outside: every case has the number under which it stands in the list of cases that a
//! server must refuse (N…) or must accept (P…), and runs over real HTTP on two instances with Postgres
//! and a GitHub of our own.

mod anywhere;
mod authorize;
mod callback;
mod consent;
mod metadata;
mod races;
mod redeem;
mod refresh;
mod register;
mod tokens;

use std::{collections::BTreeSet, time::Duration};

use entity::oauth_audit;
use sea_orm::{ConnectionTrait as _, EntityTrait as _, PaginatorTrait as _, QueryFilter as _};
use serde_json::{Value, json};
use tests::{
    browser::{App, Browser},
    client::{Page, Web},
    cluster::{Cluster, Database, Setup},
    eventually,
    github::GitHub,
};

/// Cases of the list that nothing here proves, or not completely, each with the reason.
const KNOWN_GAPS: &[(&str, &str)] = &[
    ("N40", "no test takes Redis away in the middle of a sign-in"),
    ("N42", "a foreign Host is refused with 403, where the list says 421 or 400"),
    ("N57", "no real browser follows a link to an app"),
    ("N58", "the headers are checked, but no real browser tries to frame a page"),
    ("N79", "that no statement is run for garbage is not counted"),
    ("N89", "a body that arrives slowly needs a raw connection"),
    ("N97", "leaving the list and being blocked are told without HTTP only"),
    ("N99-N104", "forged tokens are a table of the verifier, without HTTP"),
    ("N112b", "no stream is open while its grant is revoked"),
    ("N112c", "no instance starts after a revocation"),
    ("N121", "only the share of one network is used up, not that of everybody"),
    ("N122b", "clean-up is told without HTTP only"),
    ("N123-N130c", "metadata documents need a host with TLS; none takes part"),
    ("N133", "keys are not rotated under load"),
    ("N136", "only the tables of grants and of refresh tokens are taken away"),
    ("N137", "logs are not searched for secrets after these cases"),
    ("N138", "only replays, recovery and recycled logins are looked up in the audit log"),
    ("N139", "no instance is stopped in the middle of an exchange"),
    ("N140", "there is no older binary to stand beside"),
    ("P05", "metadata documents need a host with TLS; none takes part"),
    ("P09", "metadata documents need a host with TLS; none takes part"),
    (
        "P12",
        "the libraries of clients are driven with a token (tests/interop), not through sign-in",
    ),
];

#[test]
fn known_gaps_are_named_once() {
    let names: BTreeSet<_> = KNOWN_GAPS.iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), KNOWN_GAPS.len());
    assert!(KNOWN_GAPS.iter().all(|(_, why)| !why.is_empty()));
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

    fn one(&self) -> &Web {
        self.cluster.web(0)
    }

    fn other(&self) -> &Web {
        self.cluster.web(1)
    }

    fn browser(&self) -> Browser {
        Browser::new(&self.cluster)
    }

    async fn app(&self) -> App {
        App::register(self.one()).await
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
            .count(self.cluster.service().db())
            .await
            .expect("the database is there")
    }

    /// Hides a table: every statement that needs it fails until it is back.
    async fn hide(&self, table: &str) {
        self.rename(table, "hidden").await;
    }

    async fn bring_back(&self, table: &str) {
        self.rename("hidden", table).await;
    }

    async fn rename(&self, from: &str, to: &str) {
        let statement = format!("ALTER TABLE {from} RENAME TO {to}");
        let db = self.cluster.service().db();
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
