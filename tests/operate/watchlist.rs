//! Each condition of the watchlist, provoked on a running cluster, raises its alert in a real
//! Prometheus, and no other, except those that follow from it by their nature ([`FOLLOWING`]).
//!
//! The rules are those that are deployed, with every range, every `for` and every day shortened alike,
//! so that a minute becomes a second.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use poem::{Server, endpoint, listener::TcpAcceptor};
use sea_orm::{
    ConnectOptions, ConnectionTrait as _, Database, DatabaseConnection, TransactionTrait as _,
};
use serde_json::{Value, json};
use tests::{
    browser::{Browser, ClientApp, post},
    eventually,
    fake_endpoint::Manner,
    github::Question,
    postgres::Server as Postgres,
};
use tokio::{net::TcpListener, task::JoinHandle, time::interval};

use crate::{
    failures::make_read_only,
    prometheus::{Prometheus, Watch},
    queries::{self, Query, rules},
    read,
    stage::{Stage, TURN},
};

/// How often Prometheus looks: four times within the shortest range, which is a second.
const EVERY: Duration = Duration::from_millis(250);

/// Pause between two requests of the same kind.
const BEAT: Duration = Duration::from_millis(50);

/// The alert that always fires.
pub(crate) const WATCHDOG: &str = "Watchdog";

/// Connections of a database that is soon full.
const FEW: usize = 40;

/// Alerts that a condition of the watchlist may raise beside its own, each with why.
const FOLLOWING: [(&str, &str, &str); 9] = [
    ("SignInsFailing", "HttpErrorsHigh", "a failed sign-in is a failed request"),
    ("SignInsFailing", "AvailabilityBurnFast", "requests that fail use up the budget"),
    ("SignInsFailing", "AvailabilityBurnMedium", "requests that fail use up the budget"),
    ("HttpErrorsHigh", "AvailabilityBurnFast", "requests that fail use up the budget"),
    ("HttpErrorsHigh", "AvailabilityBurnMedium", "requests that fail use up the budget"),
    ("HealthCheckFailing", "DatabaseDown", "without the database no instance is healthy"),
    ("McpLatencyHigh", "LatencyBurnFast", "requests that wait use up the budget"),
    ("McpLatencyHigh", "LatencyBurnSlow", "requests that wait use up the budget"),
    ("McpLatencyHigh", "PostgresSlow", "what they wait for is a statement"),
];

/// The rules, a minute of which takes a second.
pub(crate) fn shortened() -> String {
    let text = read(queries::RULES);
    let lines: Vec<_> = text.lines().map(shortened_line).collect();
    let changed = text.lines().zip(&lines).filter(|(line, short)| line != short).count();
    assert!(changed > 50, "the rules have ranges: {changed}");
    lines.join("\n") + "\n"
}

fn shortened_line(line: &str) -> String {
    if let Some(time) = line.trim_start().strip_prefix("for: ") {
        return line.replace(time, &seconds(time));
    }
    let line = line.replace("86400", "1440"); // the seconds of a day
    let mut parts = line.split('[');
    let first = parts.next().unwrap_or_default().to_owned();
    let ranges = parts.map(|part| {
        let (range, rest) = part.split_once(']').expect("a range ends");
        format!("[{}]{rest}", seconds(range))
    });
    first + &ranges.collect::<String>()
}

fn seconds(time: &str) -> String {
    let (number, unit) = time.split_at(time.len() - 1);
    let number: u64 = number.parse().unwrap_or_else(|_| panic!("a time: {time}"));
    let minutes = match unit {
        "m" => number,
        "h" => number * 60,
        "d" => number * 60 * 24,
        _ => panic!("a unit: {time}"),
    };
    format!("{minutes}s")
}

/// What is watched: a cluster on a database of its own, and a Prometheus.
struct Scene {
    stage: Stage,
    database: String,
    cpu: Cpu,
    prometheus: Prometheus,
    _postgres: Postgres,
}

impl Scene {
    async fn new() -> Self {
        let postgres = Postgres::with(&[&format!("max_connections={FEW}")]).await;
        let database = format!("{}/postgres", postgres.url());
        tests::postgres::migrate(&notes::product(), &database).await;
        let stage = Stage::on(database.clone()).await;
        // Workers of a test have no clock, and nobody is to be missed.
        stage.run_schedule().await;
        let cpu = Cpu::start().await;
        let prometheus = Prometheus::start(&Watch {
            jobs: &[("notes-mcp", &stage.ports), ("render", &[cpu.port])],
            every: EVERY,
            rules: shortened(),
            alertmanager: None,
        });
        let seen = Query { place: "all".to_owned(), text: "count(up == 1) == 3".to_owned() };
        eventually("all are looked at", async || prometheus.answers(&seen).await.then_some(()))
            .await;
        Self { stage, database, cpu, prometheus, _postgres: postgres }
    }

    /// The names of the alerts that fire.
    async fn firing(&self) -> Vec<String> {
        let alerts = self.prometheus.get("/api/v1/alerts", &[]).await.unwrap_or_default();
        let alerts = alerts["data"]["alerts"].as_array().cloned().unwrap_or_default();
        let is_one = |it: &&Value| it["state"] == "firing";
        let name = |it: &Value| it["labels"]["alertname"].as_str().unwrap().to_owned();
        let mut names: Vec<_> = alerts.iter().filter(is_one).map(name).collect();
        names.retain(|name| name != WATCHDOG);
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Lets something go wrong again and again, beside requests that are well, until an alert fires.
    async fn raises(&self, alert: &str, provoke: impl AsyncFn()) {
        let is_one = |name: &str| rules().iter().any(|it| it.name == name && it.is_alert);
        assert!(is_one(alert), "there is no alert {alert}");
        let provoking = async {
            let mut beat = interval(BEAT);
            loop {
                beat.tick().await;
                assert_eq!(self.stage.cluster.web(1).get("/").await.status, 200);
                provoke().await;
            }
        };
        let what = format!("{alert} fires");
        let raised = eventually(&what, async || {
            let firing = self.firing().await;
            firing.iter().any(|it| it == alert).then_some(firing)
        });
        let raised = tokio::select! {
            () = provoking => unreachable!("it goes on until somebody stops it"),
            raised = raised => raised,
        };
        let follows = |it: &str| FOLLOWING.iter().any(|(from, to, _)| (*from, *to) == (alert, it));
        let others: Vec<_> = raised.iter().filter(|it| *it != alert && !follows(it)).collect();
        assert!(others.is_empty(), "{alert} alone is raised, not {others:?}");
    }
}

/// What Render's metrics stream says of the CPU of Postgres.
struct Cpu {
    port: u16,
    /// In hundredths of the limit.
    load: &'static AtomicU64,
    running: JoinHandle<()>,
}

impl Cpu {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let load: &AtomicU64 = Box::leak(Box::new(AtomicU64::new(20)));
        let (mut used, mut last) = (0.0, Instant::now());
        let counter = std::sync::Mutex::new(move || {
            let load = u32::try_from(load.load(Ordering::Relaxed)).unwrap();
            used += last.elapsed().as_secs_f64() * f64::from(load) / 100.0;
            last = Instant::now();
            used
        });
        let answering = endpoint::make_sync(move |_| {
            let used = counter.lock().unwrap()();
            format!(
                "# TYPE render_service_cpu_time counter\n\
                 render_service_cpu_time{{service_id=\"dpg-notes\"}} {used}\n\
                 # TYPE render_service_cpu_limit gauge\n\
                 render_service_cpu_limit{{service_id=\"dpg-notes\"}} 1\n"
            )
        });
        let acceptor = TcpAcceptor::from_tokio(listener).unwrap();
        let running = tokio::spawn(async move {
            drop(Server::new_with_acceptor(acceptor).run(answering).await);
        });
        Self { port, load, running }
    }
}

impl Drop for Cpu {
    fn drop(&mut self) {
        self.running.abort();
    }
}

#[tokio::test]
async fn requests_that_fail_raise_the_alert_for_errors() {
    let _turn = TURN.lock().await;
    let scene = Scene::new().await;
    scene.raises("HttpErrorsHigh", async || scene.stage.fail().await).await;
}

#[tokio::test]
async fn a_read_only_database_raises_the_alert_for_errors() {
    let _turn = TURN.lock().await;
    let scene = Scene::new().await;
    let client = scene.stage.cluster.web(0).modern(scene.stage.cluster.token("ada").await);
    make_read_only(&scene.database).await;
    scene
        .raises("HttpErrorsHigh", async || {
            let note = json!({ "title": "a", "body": "b" });
            let created = client.tool("notes_create", note).await;
            assert_eq!(created.result()["isError"], true);
            assert_eq!(scene.stage.cluster.web(0).get("/healthz").await.status, 200);
        })
        .await;
}

#[tokio::test]
async fn a_wrong_client_secret_raises_the_alert_for_sign_ins() {
    let _turn = TURN.lock().await;
    let scene = Scene::new().await;
    let refuses = json!({ "error": "incorrect_client_credentials" });
    scene.stage.github.answers(Question::Exchange, Manner::Json(refuses));
    let client_app = ClientApp::register(scene.stage.cluster.web(0)).await;
    scene
        .raises("SignInsFailing", async || {
            let page = Browser::new(&scene.stage.cluster).sign_in(&client_app.asks()).await;
            assert_eq!(page.status, 303);
        })
        .await;
}

#[tokio::test]
async fn a_database_that_is_gone_raises_the_alert_for_health() {
    let _turn = TURN.lock().await;
    let scene = Scene::new().await;
    scene.stage.cluster.app().close().await;
    scene
        .raises("HealthCheckFailing", async || {
            assert_eq!(scene.stage.cluster.web(0).get("/healthz").await.status, 503);
        })
        .await;
}

#[tokio::test]
async fn a_busy_postgres_raises_the_alert_for_its_cpu() {
    let _turn = TURN.lock().await;
    let scene = Scene::new().await;
    scene.cpu.load.store(95, Ordering::Relaxed);
    scene.raises("PostgresCpuHigh", async || {}).await;
}

#[tokio::test]
async fn connections_of_others_raise_the_alert_for_connections() {
    let _turn = TURN.lock().await;
    let scene = Scene::new().await;
    let mut others: Vec<DatabaseConnection> = Vec::new();
    for _ in 0..FEW * 7 / 10 {
        let mut options = ConnectOptions::new(&scene.database);
        options.max_connections(1).sqlx_logging(false);
        others.push(Database::connect(options).await.unwrap());
    }
    scene.raises("PostgresConnectionsHigh", async || {}).await;
}

#[tokio::test]
async fn calls_that_wait_raise_the_alert_for_latency() {
    let _turn = TURN.lock().await;
    let scene = Scene::new().await;
    let web = scene.stage.cluster.web(0);
    let client = web.modern(scene.stage.cluster.token("ada").await);
    client.tool("notes_list", json!({})).await.output();
    let db = Database::connect(&scene.database).await.unwrap();
    let wait = Duration::from_millis(800); // longer than the objective, shorter than a stream
    scene
        .raises("McpLatencyHigh", async || {
            let lock = db.begin().await.unwrap();
            lock.execute_unprepared("LOCK TABLE notes IN ACCESS EXCLUSIVE MODE").await.unwrap();
            let release = async {
                #[expect(clippy::disallowed_methods, reason = "slowness is what is tested")]
                tokio::time::sleep(wait).await;
                lock.commit().await.unwrap();
            };
            let (listed, ()) = tokio::join!(client.tool("notes_list", json!({})), release);
            listed.output();
        })
        .await;
}

#[tokio::test]
async fn refused_tokens_raise_the_alert_for_the_token_endpoint() {
    let _turn = TURN.lock().await;
    let scene = Scene::new().await;
    let web = scene.stage.cluster.web(0);
    let client_app = ClientApp::register(web).await;
    let form = client_app.refreshing("nothing of ours");
    scene
        .raises("TokenErrorsHigh", async || {
            assert_eq!(post(web, "/token", &form).await.status, 400);
        })
        .await;
}

#[test]
fn what_may_follow_is_an_alert_of_the_rules() {
    let names: Vec<_> = rules().into_iter().filter(|it| it.is_alert).map(|it| it.name).collect();
    for (from, to, why) in FOLLOWING {
        assert!([from, to].iter().all(|it| names.iter().any(|name| name == it)), "{from}, {to}");
        assert!(!why.is_empty());
    }
}
