//! Alerts leave Prometheus: a real Alertmanager with the deployed routes takes them from a real
//! Prometheus with the deployed rules, and a webhook hears of them.

use std::{
    fs,
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use poem::{Server, endpoint, listener::TcpAcceptor};
use serde_json::Value;
use tempfile::TempDir;
use tests::eventually;
use tokio::{net::TcpListener, task::JoinHandle};

use crate::{
    prometheus::{Prometheus, Watch, program},
    root,
    watchlist::{self, WATCHDOG},
};

/// The settings of a deployment, and the words that the configuration has for each.
const EMAIL: [(&str, &str); 5] = [
    ("ALERT_EMAIL_TO", "ops@example.com"),
    ("ALERT_EMAIL_FROM", "it's notes <notes@example.com>"),
    ("ALERT_SMTP_HOST", "smtp.example.com:587"),
    ("ALERT_SMTP_USERNAME", "notes"),
    ("ALERT_SMTP_PASSWORD", "a 'quoted' \"word\": # {{ x }} \\"),
];

/// The files of the image, in a folder where a test may change them.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for file in ["alertmanager.yml", "start.sh"] {
            let from = root().join("grafana/alertmanager").join(file);
            fs::copy(from, folder.path().join(file)).unwrap();
        }
        Self(folder)
    }

    fn config(&self) -> std::path::PathBuf {
        self.0.path().join("written.yml")
    }

    /// `start.sh` with these settings, which starts `alertmanager` with what it has written.
    fn start(&self, alertmanager: &str, settings: &[(&str, &str)]) -> Command {
        let mut command = Command::new("/bin/sh");
        command
            .arg(self.0.path().join("start.sh"))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("ALERTMANAGER", alertmanager)
            .env("ALERTMANAGER_CONFIG", self.config())
            .envs(settings.iter().copied())
            .stdin(Stdio::null());
        command
    }

    fn written_with(&self, settings: &[(&str, &str)]) -> Output {
        self.start("true", settings).output().unwrap()
    }
}

fn amtool(file: &std::path::Path) -> String {
    let output = Command::new(program("amtool")).arg("check-config").arg(file).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    said.into_owned()
}

#[test]
fn the_configuration_is_valid_with_any_receivers() {
    let files = Files::new();
    let webhook = [("ALERT_WEBHOOK_URL", "https://example.com/hook?token=a&b='c'")];
    let heartbeat = [("HEARTBEAT_URL", "https://example.com/beat")];
    let all = [&webhook[..], &heartbeat, &EMAIL].concat();
    for settings in [&[][..], &webhook, &heartbeat, &EMAIL, &all] {
        let output = files.written_with(settings);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        amtool(&files.config());
        let config: Value =
            serde_yaml::from_str(&fs::read_to_string(files.config()).unwrap()).unwrap();
        let written = config["receivers"].to_string();
        for (name, value) in settings {
            let as_json = Value::from(*value).to_string();
            assert!(written.contains(&as_json), "{name} is written as it is: {written}");
        }
        let reaches_people =
            settings.iter().any(|(name, _)| ["ALERT_WEBHOOK_URL", "ALERT_EMAIL_TO"].contains(name));
        assert_eq!(said.contains("alerts reach nobody"), !reaches_people, "{said}");
        let has_heartbeat = settings.iter().any(|(name, _)| *name == "HEARTBEAT_URL");
        assert_eq!(said.contains("HEARTBEAT_URL"), !has_heartbeat, "{said}");
    }
    let half = files.written_with(&EMAIL[..1]);
    assert_eq!(half.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&half.stderr).contains("ALERT_SMTP_HOST"));
}

#[test]
fn routes_and_inhibitions_name_alerts_that_there_are() {
    let names: Vec<String> = crate::queries::rules()
        .into_iter()
        .filter(|rule| rule.is_alert)
        .map(|rule| rule.name)
        .collect();
    let files = Files::new();
    assert!(files.written_with(&[]).status.success());
    let config: Value = serde_yaml::from_str(&fs::read_to_string(files.config()).unwrap()).unwrap();
    let rules = config["inhibit_rules"].as_array().unwrap();
    let routes = config["route"]["routes"].as_array().unwrap();
    let of_rules =
        rules.iter().flat_map(|rule| [&rule["source_matchers"], &rule["target_matchers"]]);
    let mut looked_at = 0;
    for matcher in of_rules
        .chain(routes.iter().map(|route| &route["matchers"]))
        .flat_map(|matchers| matchers.as_array().unwrap())
    {
        let Some(names_of) = matcher.as_str().unwrap().strip_prefix("alertname=") else { continue };
        for name in names_of.trim_start_matches('~').trim_matches('"').split('|') {
            let is_one = |it: &String| match name.strip_suffix(".+") {
                Some(start) => it.starts_with(start),
                None => it == name,
            };
            assert!(names.iter().any(is_one), "there is no alert {name}");
            looked_at += 1;
        }
    }
    assert!(looked_at > 10);
}

/// Where people, or a dead man's switch, would be: keeps every message.
struct Receiver {
    url: String,
    heard: Arc<Mutex<Vec<Value>>>,
    running: JoinHandle<()>,
}

impl Receiver {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let heard = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&heard);
        let answering = endpoint::make(move |request: poem::Request| {
            let kept = Arc::clone(&kept);
            async move {
                let message = request.into_body().into_json().await.unwrap();
                kept.lock().unwrap().push(message);
            }
        });
        let acceptor = TcpAcceptor::from_tokio(listener).unwrap();
        let running = tokio::spawn(async move {
            drop(Server::new_with_acceptor(acceptor).run(answering).await);
        });
        Self { url, heard, running }
    }

    /// The alerts of all messages that came.
    fn alerts(&self) -> Vec<Value> {
        let heard = self.heard.lock().unwrap();
        heard.iter().flat_map(|it| it["alerts"].as_array().unwrap().clone()).collect()
    }

    fn count(&self) -> usize {
        self.heard.lock().unwrap().len()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.running.abort();
    }
}

struct Alertmanager {
    child: Child,
    port: u16,
    _files: Files,
}

impl Alertmanager {
    /// Starts it with the deployed routes, whose pauses are a second instead of a minute.
    fn start(settings: &[(&str, &str)]) -> Self {
        let files = Files::new();
        let routes = files.0.path().join("alertmanager.yml");
        let text = fs::read_to_string(&routes).unwrap();
        let short = text
            .replace("group_wait: 30s", "group_wait: 1s")
            .replace(": 1m #", ": 1s #")
            .replace(": 50s", ": 500ms");
        assert_ne!(text, short);
        fs::write(&routes, short).unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let installed = ["alertmanager", "prometheus-alertmanager"]
            .into_iter()
            .find_map(crate::prometheus::installed)
            .expect("alertmanager is needed: scripts/test installs it");
        let child = files
            .start(installed.to_str().unwrap(), settings)
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg(format!("--storage.path={}", files.0.path().join("data").display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, port, _files: files }
    }
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[tokio::test]
async fn a_rule_that_fires_reaches_people_and_the_heartbeat_goes_on() {
    let people = Receiver::start().await;
    let heartbeat = Receiver::start().await;
    let alertmanager = Alertmanager::start(&[
        ("ALERT_WEBHOOK_URL", &people.url),
        ("HEARTBEAT_URL", &heartbeat.url),
    ]);
    // There is no web instance at this port: MetricsAbsent.
    let _prometheus = Prometheus::start(&Watch {
        jobs: &[("notes-mcp", &[1])],
        every: Duration::from_millis(250),
        rules: watchlist::shortened(),
        alertmanager: Some(alertmanager.port),
    });
    let alert = eventually("people hear of it", async || {
        people.alerts().into_iter().find(|it| it["labels"]["alertname"] == "MetricsAbsent")
    })
    .await;
    assert_eq!(alert["status"], "firing");
    let annotations = &alert["annotations"];
    assert_eq!(annotations["summary"], "Prometheus reaches no web instance.");
    assert!(annotations["description"].as_str().unwrap().contains('1'), "{annotations}");
    let page = annotations["runbook_url"].as_str().unwrap();
    assert!(page.ends_with("/docs/runbook.md#metricsabsent"), "{page}");
    eventually("the heartbeat beats", async || (heartbeat.count() >= 3).then_some(())).await;
    let beats = heartbeat.alerts();
    assert!(beats.iter().all(|it| it["labels"]["alertname"] == WATCHDOG), "{beats:?}");
    let heard = people.alerts();
    assert!(heard.iter().all(|it| it["labels"]["alertname"] != WATCHDOG), "{heard:?}");
    // It follows from the other one.
    assert!(heard.iter().all(|it| it["labels"]["alertname"] != "InstanceUnreachable"), "{heard:?}");
}
