//! When something that sign-in needs is away, or breaks in the middle: N40, N79, N136, N139 and N140.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use oauth::pending::{Key, PendingStore, StoreUnavailable};
use sea_orm::{ConnectionTrait as _, Statement};
use serde_json::json;
use tests::{
    browser::{ClientApp, post, with},
    client::Page,
    cluster::{Cluster, Database, Setup},
    eventually,
    github::GitHub,
    in_time, postgres,
    wire::{Loss, Wire},
};

use super::{Stage, shown, text, told};

/// A store of half-done sign-ins that can be away, and that can write as a newer version would.
#[derive(Debug)]
struct Fickle {
    inner: Arc<dyn PendingStore>,
    mood: Arc<Mood>,
}

/// What the stores of all instances are like at the moment.
#[derive(Debug, Default)]
struct Mood {
    away: AtomicBool,
    /// Stands in front of each new value instead of our own version, unless it is zero.
    version: AtomicU8,
}

impl Fickle {
    fn check(&self) -> Result<(), StoreUnavailable> {
        if self.mood.away.load(Ordering::Relaxed) {
            return Err(StoreUnavailable("the test has taken it away".to_owned()));
        }
        Ok(())
    }
}

#[async_trait]
impl PendingStore for Fickle {
    async fn put(
        &self,
        key: &Key,
        mut value: Vec<u8>,
        ttl: Duration,
    ) -> Result<(), StoreUnavailable> {
        self.check()?;
        match self.mood.version.load(Ordering::Relaxed) {
            0 => {}
            version => value[0] = version,
        }
        self.inner.put(key, value, ttl).await
    }

    async fn peek(&self, key: &Key) -> Result<Option<Vec<u8>>, StoreUnavailable> {
        self.check()?;
        self.inner.peek(key).await
    }

    async fn take(&self, key: &Key) -> Result<Option<Vec<u8>>, StoreUnavailable> {
        self.check()?;
        self.inner.take(key).await
    }
}

/// Two instances with such a store.
async fn fickle() -> (Stage, Arc<Mood>) {
    let (github, mood) = (GitHub::start().await, Arc::<Mood>::default());
    let setup = Setup::new(Database::Postgres).instances(2).with_github(&github);
    let setup = setup.given({
        let mood = Arc::clone(&mood);
        move |given| {
            let (inner, mood) = (Arc::clone(&given.oauth.pending), Arc::clone(&mood));
            given.oauth.pending = Arc::new(Fickle { inner, mood });
        }
    });
    (Stage { cluster: setup.start().await, github }, mood)
}

#[tokio::test]
async fn n40_without_the_store_nobody_signs_in_and_nobody_is_signed_out() {
    let (stage, store) = fickle().await;
    let (browser, client_app) = (stage.browser(), stage.client_app().await);
    let tokens = client_app.connect(&browser).await;
    let asked = client_app.asks();
    let form = browser.to_consent(&asked).await;
    let callback = browser.to_callback(&client_app.asks()).await;

    store.away.store(true, Ordering::Relaxed);
    for (case, page) in [
        ("N40 authorize", browser.get(&client_app.asks().path()).await),
        ("N40 consent", browser.submit(&form, "approve").await),
        ("N40 callback", browser.get(&callback).await),
    ] {
        shown(case, &page, 503);
        assert_ne!(page.header("retry-after"), "", "{case}");
    }
    stage.is_good(&text(&tokens, "access_token")).await;
    let page = client_app.refresh(stage.other(), &text(&tokens, "refresh_token")).await;
    assert_eq!(page.status, 200, "N40: {}", page.text());

    // The form that the person was looking at is still good.
    store.away.store(false, Ordering::Relaxed);
    let address = browser.approve(&form).await;
    let callback = browser.at_github(&address).await;
    asked.code(&browser.get(&callback).await);
}

#[tokio::test]
async fn n140_records_and_tables_of_a_newer_version_do_no_harm() {
    let (stage, store) = fickle().await;
    let (browser, client_app) = (stage.browser(), stage.client_app().await);
    let ours = client_app.asks();
    let form = browser.to_consent(&ours).await;
    // A newer instance begins a sign-in: it cannot go on here, and the person is told to begin anew.
    store.version.store(2, Ordering::Relaxed);
    let begun = browser.get(&client_app.asks().path()).await;
    shown("N140", &browser.get(begun.header("location")).await, 400);
    // One that began here goes on, beside it.
    store.version.store(0, Ordering::Relaxed);
    let address = browser.at(stage.other()).approve(&form).await;
    let callback = browser.at_github(&address).await;
    ours.code(&browser.get(&callback).await);

    // A newer schema has more columns, with defaults, as migrations have to be written.
    let db = stage.cluster.app().db();
    for table in [
        "users",
        "oauth_clients",
        "oauth_codes",
        "oauth_grants",
        "oauth_refresh_tokens",
        "oauth_service_clients",
        "oauth_signing_keys",
        "oauth_audit",
    ] {
        let more = format!("ALTER TABLE {table} ADD COLUMN of_the_future text");
        db.execute_unprepared(&more).await.unwrap();
    }
    let client_app = stage.client_app().await;
    let tokens = client_app.connect(&stage.browser()).await;
    let page = client_app.refresh(stage.other(), &text(&tokens, "refresh_token")).await;
    assert_eq!(page.status, 200, "N140: {}", page.text());
    let access = text(&page.json(), "access_token");
    stage.is_good(&access).await;
    assert_eq!(client_app.revoke(stage.one(), &access).await.status, 200, "N140");
    stage.is_refused(&access).await;
}

/// Two instances with a wire to the database that the test can cut, and a client that they know from
/// their configuration.
async fn wired() -> (Stage, Wire, ClientApp) {
    let (github, wire) = (
        GitHub::start().await,
        Wire::to(&postgres::fresh_database(&tests::fixtures::product()).await).await,
    );
    let client_app = ClientApp::known("an-app");
    let clients = json!([{
        "client_id": client_app.id, "client_name": "An app", "redirect_uris": [client_app.redirect_uri],
    }]);
    let setup = Setup::new(Database::Postgres)
        .instances(2)
        .with_github(&github)
        .with("DATABASE_URL", wire.url())
        .with("OAUTH_CLIENTS", clients.to_string());
    (Stage { cluster: setup.start().await, github }, wire, client_app)
}

#[tokio::test]
async fn n79_garbage_costs_no_statement() {
    let (stage, wire, client_app) = wired().await;
    let code = client_app.code(&stage.browser()).await;
    let tokens = client_app.connect(&stage.browser()).await;
    let wrong_checksum: &str = format!("{}0000", &code.code[..code.code.len() - 4]).leak();
    let long: &str = format!("mac_{}", "a".repeat(10_000)).leak();
    // The instances ask by themselves every few seconds; anything for each request would be more.
    let before = wire.executed();
    for _ in 0..20 {
        for garbage in ["x", "mac_", "mac_\0", wrong_checksum, long] {
            let page = post(stage.one(), "/token", &with(&code.form(), "code", garbage)).await;
            told("N79", &page, 400, "invalid_grant");
            let refreshing = client_app.refreshing(garbage);
            told("N79", &post(stage.other(), "/token", &refreshing).await, 400, "invalid_grant");
        }
    }
    let cost = wire.executed() - before;
    assert!(cost < 50, "N79: {cost} statements for 200 requests");
    assert_eq!(code.redeem(stage.other()).await.status, 200, "N79");
    stage.is_good(&text(&tokens, "access_token")).await;
}

/// Does something again and again, and each time the connection is lost at a later statement, until
/// there is none left to lose it at. Gives at how many it was.
async fn at_every_statement<T>(
    wire: &Wire,
    loss: Loss,
    prepare: impl AsyncFn() -> T,
    act: impl AsyncFn(&T) -> Page,
    check: impl AsyncFn(u32, &Page, T),
) -> u32 {
    /// More statements than any step of a sign-in has.
    const MOST: u32 = 60;
    for after in 0..MOST {
        let prepared = prepare().await;
        wire.break_after(after, loss);
        let page = act(&prepared).await;
        let was_cut = wire.mend();
        check(after, &page, prepared).await;
        if !was_cut {
            return after;
        }
    }
    panic!("there are more statements than anybody thought");
}

#[tokio::test(flavor = "multi_thread")]
async fn n136_a_code_survives_the_loss_of_any_statement() {
    let (stage, wire, client_app) = wired().await;
    let browser = stage.browser();
    let lost_at = at_every_statement(
        &wire,
        Loss::Statement,
        async || client_app.code(&browser).await,
        async |code| code.redeem(stage.one()).await,
        async |after, page, code| {
            if page.status == 200 {
                return;
            }
            told(&format!("N136 {after}"), page, 503, "temporarily_unavailable");
            let again = code.redeem(stage.other()).await;
            assert_eq!(again.status, 200, "N136 {after}: {}", again.text());
            stage.is_good(&text(&again.json(), "access_token")).await;
        },
    )
    .await;
    assert!(lost_at > 5, "N136: only {lost_at} statements");
    no_orphans(&stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn n136_a_refresh_token_survives_the_loss_of_any_statement_or_answer() {
    let (stage, wire, client_app) = wired().await;
    let first = text(&client_app.connect(&stage.browser()).await, "refresh_token");
    for loss in [Loss::Statement, Loss::Answer] {
        let token = std::sync::Mutex::new(first.clone());
        if loss == Loss::Answer {
            *token.lock().unwrap() =
                text(&client_app.connect(&stage.browser()).await, "refresh_token");
        }
        let lost_at = at_every_statement(
            &wire,
            loss,
            async || token.lock().unwrap().clone(),
            async |presented| client_app.refresh(stage.one(), presented).await,
            async |after, page, presented| {
                if page.status != 200 {
                    told(&format!("N136 {after} {loss:?}"), page, 503, "temporarily_unavailable");
                }
                // The same request again: whatever was committed, it has the one successor.
                let again = client_app.refresh(stage.other(), &presented).await;
                assert_eq!(again.status, 200, "N136 {after} {loss:?}: {}", again.text());
                let successor = text(&again.json(), "refresh_token");
                if page.status == 200 {
                    assert_eq!(successor, text(&page.json(), "refresh_token"), "N136 {after}");
                }
                *token.lock().unwrap() = successor;
            },
        )
        .await;
        assert!(lost_at > 5, "N136: only {lost_at} statements");
    }
    assert_eq!(stage.audited("refresh_replayed").await, 0, "N136: no false alarm");
    no_orphans(&stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn n136_the_way_back_from_github_survives_the_loss_of_any_statement() {
    let (stage, wire, client_app) = wired().await;
    let browser = stage.browser();
    let lost_at = at_every_statement(
        &wire,
        Loss::Statement,
        async || {
            let asked = client_app.asks();
            let callback = browser.to_callback(&asked).await;
            (asked, callback)
        },
        async |(_, callback)| browser.get(callback).await,
        async |after, page, (asked, _)| {
            // What GitHub has said cannot be said twice: the client is told, and begins anew.
            assert_eq!(page.status, 303, "N136 {after}: {}", page.text());
            let answer = tests::browser::answer(page.header("location"));
            assert_eq!(answer.get("state"), Some(&asked.state), "N136 {after}");
            let error = answer.get("error").map(String::as_str);
            let told = answer.contains_key("code") || error == Some("temporarily_unavailable");
            assert!(told, "N136 {after}: {answer:?}");
        },
    )
    .await;
    assert!(lost_at > 2, "N136: only {lost_at} statements");
    client_app.connect(&browser).await;
    no_orphans(&stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn n136_n107_a_revocation_is_done_or_said_not_to_be() {
    let (stage, wire, client_app) = wired().await;
    let browser = stage.browser();
    let lost_at = at_every_statement(
        &wire,
        Loss::Statement,
        async || client_app.connect(&browser).await,
        async |tokens| client_app.revoke(stage.one(), &text(tokens, "refresh_token")).await,
        async |after, page, tokens| {
            if page.status != 200 {
                told(&format!("N136 {after}"), page, 503, "temporarily_unavailable");
                let again = client_app.revoke(stage.other(), &text(&tokens, "refresh_token")).await;
                assert_eq!(again.status, 200, "N136 {after}: {}", again.text());
            }
            stage.is_refused(&text(&tokens, "access_token")).await;
        },
    )
    .await;
    assert!(lost_at > 3, "N136: only {lost_at} statements");
}

/// Every grant has its first refresh token, and every refresh token a grant.
async fn no_orphans(stage: &Stage) {
    for (what, query) in [
        (
            "grants without a token",
            "SELECT count(*) FROM oauth_grants g WHERE NOT EXISTS \
             (SELECT 1 FROM oauth_refresh_tokens t WHERE t.grant_id = g.id)",
        ),
        (
            "tokens without a grant",
            "SELECT count(*) FROM oauth_refresh_tokens t WHERE NOT EXISTS \
             (SELECT 1 FROM oauth_grants g WHERE g.id = t.grant_id)",
        ),
    ] {
        assert_eq!(count(&stage.cluster, query).await, 0, "{what}");
    }
}

async fn count(cluster: &Cluster, query: &str) -> i64 {
    let db = cluster.app().db();
    let statement = Statement::from_string(sea_orm::DatabaseBackend::Postgres, query);
    let row = db.query_one_raw(statement).await.unwrap().unwrap();
    row.try_get_by_index(0).unwrap()
}

/// Statements that wait for a lock at this moment.
const WAITING: &str = "SELECT count(*) FROM pg_locks WHERE NOT granted";

#[tokio::test(flavor = "multi_thread")]
async fn n139_an_instance_that_is_asked_to_end_completes_what_it_has_begun() {
    for table in ["oauth_codes", "oauth_refresh_tokens", "users"] {
        let mut stage = Stage::new().await;
        let (browser, client_app) = (stage.browser(), stage.client_app().await);
        let code = client_app.code(&browser).await;
        let token = text(&client_app.connect(&browser).await, "refresh_token");
        let asked = client_app.asks();
        let callback = browser.to_callback(&asked).await;

        // Somebody else has the table for a moment; meanwhile the instance is asked to end.
        let transaction = stage.cluster.app().db().begin().await.unwrap();
        let lock = format!("LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE");
        transaction.execute_unprepared(&lock).await.unwrap();
        let request = tokio::spawn({
            let (web, client_app, code, browser) =
                (stage.one().clone(), client_app.clone(), code.clone(), browser.clone());
            let (token, callback) = (token.clone(), callback.clone());
            async move {
                match table {
                    "oauth_codes" => code.redeem(&web).await,
                    "oauth_refresh_tokens" => client_app.refresh(&web, &token).await,
                    _ => browser.get(&callback).await,
                }
            }
        });
        eventually("the request waits for the table", async || {
            (count(&stage.cluster, WAITING).await > 0).then_some(())
        })
        .await;
        stage.cluster.shut_down(0);
        transaction.commit().await.unwrap();
        let page = in_time("the request is answered", request).await.unwrap();
        stage.cluster.ended(0).await;

        match table {
            "oauth_codes" | "oauth_refresh_tokens" if page.status == 200 => {
                let access = text(&page.json(), "access_token");
                assert!(stage.takes(stage.other(), &access).await, "N139 {table}");
            }
            "oauth_codes" | "oauth_refresh_tokens" => {
                told(&format!("N139 {table}"), &page, 503, "temporarily_unavailable");
                let again = match table {
                    "oauth_codes" => code.redeem(stage.other()).await,
                    _ => client_app.refresh(stage.other(), &token).await,
                };
                assert_eq!(again.status, 200, "N139 {table}: {}", again.text());
            }
            _ => {
                assert_eq!(page.status, 303, "N139 {table}: {}", page.text());
                let answer = tests::browser::answer(page.header("location"));
                assert_eq!(answer.get("state"), Some(&asked.state), "N139");
            }
        }
        no_orphans(&stage).await;
    }
}
