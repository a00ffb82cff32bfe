//! A real Prometheus: it takes the rules, scrapes a cluster, and has an answer to every query.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;
use tests::{PATIENCE, eventually};

use crate::{
    queries::{self, Query, rules},
    read, root,
    stage::{Stage, TURN},
    watchlist::WATCHDOG,
};

/// Series that a cluster on this machine cannot have.
const ELSEWHERE: [&str; 2] = ["notes:postgres_cpu:ratio", "process_virtual_memory_max_bytes"];

/// A program that is no part of ours, from where scripts/test puts it or from the PATH.
pub(crate) fn program(name: &str) -> PathBuf {
    installed(name).unwrap_or_else(|| panic!("{name} is needed: scripts/test installs it"))
}

/// The same, if it is there.
pub(crate) fn installed(name: &str) -> Option<PathBuf> {
    let tools = ["prometheus/usr/bin", "pgbouncer"].map(|it| root().join("target/tools").join(it));
    let installed = std::env::var_os("PATH").unwrap_or_default();
    let folders = tools.into_iter().chain(std::env::split_paths(&installed));
    folders.map(|folder| folder.join(name)).find(|it| it.is_file())
}

#[test]
fn every_alert_fires_when_it_should_and_is_silent_when_it_should() {
    for (command, file) in [("check", "rules.yml"), ("test", "rules_test.yml")] {
        let output = Command::new(program("promtool"))
            .args([command, "rules", file])
            .current_dir(root().join("grafana/prometheus"))
            .output()
            .unwrap();
        let said =
            String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "promtool {command} rules {file}: {said}");
    }
}

#[test]
fn the_configurations_of_prometheus_are_valid() {
    for file in ["prometheus.yml", "prometheus.render.yml"] {
        let output = Command::new(program("promtool"))
            .args(["check", "config", "--syntax-only", file])
            .current_dir(root().join("grafana/prometheus"))
            .output()
            .unwrap();
        let said =
            String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{file}: {said}");
    }
}

/// A Prometheus of this test, which ends with it.
pub(crate) struct Prometheus {
    http: reqwest::Client,
    origin: String,
    child: Child,
    _folder: TempDir,
}

/// What a Prometheus looks at.
pub(crate) struct Watch<'a> {
    /// Of each job, the ports.
    pub(crate) jobs: &'a [(&'a str, &'a [u16])],
    /// How often it looks and judges.
    pub(crate) every: Duration,
    /// What it judges by.
    pub(crate) rules: String,
    /// The port of an Alertmanager that hears of alerts.
    pub(crate) alertmanager: Option<u16>,
}

impl Prometheus {
    fn scraping(ports: &[u16]) -> Self {
        Self::start(&Watch {
            jobs: &[("notes-mcp", ports)],
            every: Duration::from_millis(500),
            rules: read(queries::RULES),
            alertmanager: None,
        })
    }

    pub(crate) fn start(watch: &Watch<'_>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let every = watch.every.as_millis();
        let jobs = watch.jobs.iter().map(|(job, ports)| {
            let targets: Vec<_> = ports.iter().map(|port| format!("'127.0.0.1:{port}'")).collect();
            let targets = targets.join(", ");
            format!("- job_name: {job}\n  static_configs: [{{targets: [{targets}]}}]\n")
        });
        let alerting = watch.alertmanager.map_or_else(String::new, |port| {
            format!("alerting: {{alertmanagers: [{{static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}]}}\n")
        });
        let config = format!(
            "{alerting}global: {{scrape_interval: {every}ms, scrape_timeout: {every}ms, \
             evaluation_interval: {every}ms}}\n\
             rule_files: [rules.yml]\n\
             scrape_configs:\n{jobs}",
            jobs = jobs.collect::<String>(),
        );
        std::fs::write(folder.path().join("rules.yml"), &watch.rules).unwrap();
        let file = folder.path().join("prometheus.yml");
        std::fs::write(&file, config).unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let child = Command::new(program("prometheus"))
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            // What fires before the Alertmanager is found is sent again.
            .arg("--rules.alert.resend-delay=1s")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let origin = format!("http://127.0.0.1:{port}");
        Self { http, origin, child, _folder: folder }
    }

    pub(crate) async fn get(&self, path: &str, query: &[(&str, &str)]) -> Option<Value> {
        let mut url = url::Url::parse(&format!("{}{path}", self.origin)).unwrap();
        url.query_pairs_mut().extend_pairs(query);
        let answer = self.http.get(url).timeout(Duration::from_secs(5)).send().await.ok()?;
        answer.json().await.ok()
    }

    /// Whether a query has an answer now.
    pub(crate) async fn answers(&self, Query { place, text }: &Query) -> bool {
        let Some(answer) = self.get("/api/v1/query", &[("query", text)]).await else {
            return false;
        };
        assert_ne!(answer["status"], "error", "{place}: {text}: {answer}");
        answer["data"]["result"].as_array().is_some_and(|it| !it.is_empty())
    }

    /// Fails with all queries that have no answer yet when patience ends.
    async fn answers_all(&self, mut asked: Vec<Query>) {
        let deadline = Instant::now() + PATIENCE;
        while !asked.is_empty() && Instant::now() < deadline {
            let mut silent = Vec::new();
            for query in asked {
                if !self.answers(&query).await {
                    silent.push(query);
                }
            }
            asked = silent;
        }
        let asked: Vec<_> = asked.iter().map(|it| format!("{}: {}", it.place, it.text)).collect();
        assert!(asked.is_empty(), "no answer within {PATIENCE:?} to\n{}", asked.join("\n"));
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[tokio::test]
async fn a_real_prometheus_has_an_answer_to_every_query_of_dashboards_and_rules() {
    let _turn = TURN.lock().await;
    let stage = Stage::new().await;
    stage.play().await;
    let prometheus = Prometheus::scraping(&stage.ports);
    let scraped = Query { place: "both".to_owned(), text: "count(up == 1) == 2".to_owned() };
    eventually("both are scraped", async || prometheus.answers(&scraped).await.then_some(())).await;
    // Something has to happen while it looks.
    stage.play().await;
    let recorded = rules().into_iter().filter(|it| !it.is_alert);
    let recorded = recorded.map(|it| Query { place: it.name.clone(), text: it.name });
    let mut asked: Vec<Query> = queries::of_dashboards().into_iter().chain(recorded).collect();
    asked.retain(|query| {
        // What marks a deploy is there only after one.
        let is_a_mark = query.place.ends_with("Deploys") || query.place.ends_with("Alerts");
        !is_a_mark && !ELSEWHERE.iter().any(|it| query.text.contains(it))
    });
    prometheus.answers_all(asked).await;
    // No rule of a healthy cluster is in error or fires.
    let judged = prometheus.get("/api/v1/rules", &[]).await.unwrap();
    for rule in judged["data"]["groups"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|group| group["rules"].as_array().unwrap())
    {
        assert_eq!(rule["health"], "ok", "{rule}");
        if rule["name"] != WATCHDOG {
            assert_ne!(rule["state"], "firing", "{rule}");
        }
    }
}
