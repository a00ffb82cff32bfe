//! A cluster on which every metric is recorded at least once.

use std::sync::Once;

use app::{config::LogFormat, metrics};
use platform::telemetry;
use sea_orm::ConnectionTrait as _;
use serde_json::{Value, json};
use tests::{
    Idle,
    browser::{Browser, ClientApp, Form, register},
    client::Web,
    cluster::{Cluster, Database, Setup},
    github::GitHub,
    in_time,
    openid::OpenId,
    postgres, redis,
    schema::Revision,
};
use tokio::{net::TcpListener, sync::Mutex};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Held by a test while it reads metrics, which are global to the process.
pub(crate) static TURN: Mutex<()> = Mutex::const_new(());

/// Two instances and a worker on Postgres with Redis, GitHub and an OpenID Connect provider, and a private
/// port for metrics of each.
pub(crate) struct Stage {
    pub(crate) cluster: Cluster,
    pub(crate) metrics: Vec<Web>,
    pub(crate) ports: Vec<u16>,
    pub(crate) github: GitHub,
    _openid: OpenId,
    _end: DropGuard,
}

/// The token for metrics on the public port.
pub(crate) const TOKEN: &str = "a-token-for-metrics-of-32-bytes-or-more";

impl Stage {
    pub(crate) async fn new() -> Self {
        Self::on(postgres::fresh_database(&notes::product()).await).await
    }

    /// On this database.
    pub(crate) async fn on(database: String) -> Self {
        static COUNT: Once = Once::new();
        COUNT.call_once(|| {
            telemetry::init(LogFormat::Pretty, "error");
            metrics::start(&notes::product());
        });
        let (github, openid) = (GitHub::start().await, OpenId::start().await);
        let url = redis::shared().await;
        let cluster = Setup::new(Database::Postgres)
            .product(notes::product)
            .instances(2)
            .workers(1)
            .real_time()
            .with_github(&github)
            .with_openid(&openid)
            .on_redis_at(url)
            .with("DATABASE_URL", database)
            .with("REDIS_URL", url)
            .with("METRICS_TOKEN", TOKEN)
            .with("RENDER_GIT_COMMIT", "0123abc")
            .start()
            .await;
        let stop = CancellationToken::new();
        let (mut addresses, mut ports) = (Vec::new(), Vec::new());
        for _ in 0..2 {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            ports.push(port);
            addresses.push(Web::new(format!("http://127.0.0.1:{port}")));
            let app = cluster.app().clone();
            tokio::spawn(web::serve_metrics(listener, app, stop.clone()));
        }
        let end = stop.drop_guard();
        Self { cluster, metrics: addresses, ports, github, _openid: openid, _end: end }
    }

    /// The response to a scrape.
    pub(crate) async fn scrape(&self) -> String {
        let page = self.metrics[0].get("/metrics").await;
        assert_eq!(page.status, 200, "{}", page.text());
        page.text()
    }

    /// Does everything once that a metric records.
    pub(crate) async fn play(&self) {
        self.call().await;
        self.run_jobs().await;
        self.sign_in().await;
        self.break_off().await;
        self.fail().await;
    }

    async fn call(&self) {
        let token = self.cluster.token("zelda").await;
        let web = self.cluster.web(0);
        let modern = web.modern(&token);
        let note = modern.tool("notes_create", json!({ "title": "a", "body": "b" })).await;
        let id = note.result()["structuredContent"]["id"].clone();
        modern.tool("notes_search", json!({ "query": "a" })).await.result();
        modern.call("tools/list", json!({})).await.result();
        let gone = modern.tool("notes_get", json!({ "id": uuid() })).await;
        assert_eq!(gone.result()["isError"], true);
        // A question, and no answer.
        modern.tool("notes_delete", json!({ "id": id })).await;

        let legacy = web.legacy(&token, Revision::November2025).await;
        // The answer of a call that asks is a stream; it can be read again from its beginning.
        let mut stream = legacy
            .open("tools/call", json!({ "name": "notes_delete", "arguments": { "id": id } }))
            .await;
        let priming = stream.next().await.expect("the stream begins");
        let question = stream.message().await;
        drop(stream);
        let mut again = legacy.resume(&priming.id.expect("it can be resumed")).await;
        legacy
            .respond(&question, json!({ "action": "accept", "content": { "confirm": true } }))
            .await;
        in_time("the call ends", async { while again.next().await.is_some() {} }).await;
        legacy.end().await;

        assert_eq!(self.cluster.web(1).get("/healthz").await.status, 200);
        assert_eq!(self.cluster.web(1).get("/nowhere").await.status, 404);
        let bad = web.post("not-a-token", "{}");
        assert_eq!(tests::client::Page::read(bad).await.status, 401);
    }

    async fn run_jobs(&self) {
        let token = self.cluster.token("zelda").await;
        // It cannot hold a task handle, so the call waits for the job.
        let modern = self.cluster.web(1).modern(&token).with_capabilities(json!({}));
        modern.tool("notes_export", json!({})).await.result();
        let text = json!([{ "title": "Tea", "body": "Green" }]).to_string();
        modern.tool("notes_import", json!({ "text": text })).await.result();
        self.run_schedule().await;
    }

    /// What a worker does every few seconds.
    pub(crate) async fn run_schedule(&self) {
        let schedule = worker::schedules::find(&notes::product(), "lost-jobs").unwrap();
        worker::schedules::run_if_due(
            &schedule,
            self.cluster.app(),
            &Idle,
            &CancellationToken::new(),
        )
        .await;
    }

    async fn sign_in(&self) {
        let web = self.cluster.web(0);
        let app = ClientApp::register(web).await;
        let tokens: Value = app.connect(&Browser::new(&self.cluster)).await;
        let refresh = tokens["refresh_token"].as_str().unwrap();
        assert_eq!(app.refresh(web, refresh).await.status, 200);
        assert_eq!(app.refresh(web, "not-a-refresh-token").await.status, 400);
        assert_eq!(app.revoke(web, refresh).await.status, 200);

        let browser = Browser::new(&self.cluster);
        let address =
            browser.submit(&Form::sign_in(Some("acme")), "").await.header("location").to_owned();
        let callback = browser.at_github(&address).await;
        assert_eq!(browser.get(&callback).await.header("location"), "/account");
    }

    /// A request that fails because of the server.
    pub(crate) async fn fail(&self) {
        let db = self.cluster.app().db();
        let rename = async |from: &str, to: &str| {
            let statement = format!("ALTER TABLE {from} RENAME TO {to}");
            db.execute_unprepared(&statement).await.expect("the table is there");
        };
        rename("oauth_clients", "hidden").await;
        let metadata = json!({ "redirect_uris": ["http://127.0.0.1/callback"] });
        let page = register(self.cluster.web(0), metadata.to_string()).await;
        rename("hidden", "oauth_clients").await;
        assert!(page.status.is_server_error(), "{}", page.text());
    }

    /// A client that disconnects while its response is streamed.
    async fn break_off(&self) {
        let token = self.cluster.token("bea").await;
        let modern = self.cluster.web(0).modern(&token);
        let (stream, _) = modern.listen(json!({ "toolsListChanged": true })).await;
        drop(stream);
    }
}

pub(crate) fn uuid() -> String {
    format!("01980000-0000-7000-8000-{:012x}", rand::random::<u64>() >> 16)
}
