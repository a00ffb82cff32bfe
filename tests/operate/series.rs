//! `/metrics`: who may see it, what is in it, and that nobody can make it grow.

use std::{
    collections::BTreeSet,
    io::Write as _,
    process::{Command, Stdio},
};

use app::metrics::{self, Kind};
use futures_util::{StreamExt as _, stream};
use jobs::schedule_runs::{self, Runs};
use reqwest::Method;
use serde_json::json;
use tests::{
    browser::visitor,
    client::Page,
    cluster::{Database, Setup},
    eventually,
    github::GitHub,
    processes::{self, Plan},
};

use crate::{
    prometheus::program,
    stage::{Stage, TOKEN, TURN, uuid},
};

/// How many different paths, tools, clients and users are tried.
const MANY: usize = 10_000;

/// How many requests are under way at once.
const AT_ONCE: usize = 16;

/// The names and labels of everything that is exported, without the numbers.
fn series(text: &str) -> BTreeSet<&str> {
    text.lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| line.rsplit_once(' ').unwrap().0)
        .collect()
}

#[tokio::test]
async fn what_is_exported_is_what_the_list_says_and_nobody_can_make_it_grow() {
    let _turn = TURN.lock().await;
    let stage = Stage::new().await;
    stage.play().await;
    let text = stage.scrape().await;
    for metric in metrics::ALL {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        // Nothing on Linux bounds the address space of a test.
        let optional = ["process_virtual_memory_max_bytes"].contains(&metric.name);
        let there = text.contains(&format!("# TYPE {} {kind}\n", metric.name));
        assert!(there || optional, "{} is not exported", metric.name);
        assert!(text.contains(metric.help) || optional, "{} has no help", metric.name);
    }
    for name in text.lines().filter_map(|it| it.strip_prefix("# TYPE ")) {
        let (name, _) = name.split_once(' ').unwrap();
        assert!(metrics::ALL.iter().any(|it| it.name == name), "{name} is in no list");
    }
    // What a path, a tool, a client or a user could add.
    for word in [TOKEN, "zelda", "nowhere", "tests", "Bearer"] {
        assert!(!text.contains(word), "{word} is exported");
    }

    // The first strange request of each kind may add a series; no further one may.
    many(&stage, 0..8).await;
    let before = stage.scrape().await;
    let before = series(&before);
    many(&stage, 8..MANY).await;
    let after = stage.scrape().await;
    let new: Vec<_> = series(&after).difference(&before).copied().collect();
    assert!(new.is_empty(), "{MANY} strangers added {} series: {new:#?}", new.len());
}

#[tokio::test]
async fn promtool_finds_nothing_wrong_with_any_metric() {
    let _turn = TURN.lock().await;
    let stage = Stage::new().await;
    stage.play().await;
    // The worker of the cluster runs in this process, so its metrics are there as well.
    let text = stage.scrape().await;
    for of_worker in ["worker_places", "job_attempt_duration_seconds", "schedule_runs_total"] {
        assert!(text.contains(of_worker), "{of_worker}");
    }
    let mut promtool = Command::new(program("promtool"))
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
}

/// Requests that differ in whatever a client can choose.
async fn many(stage: &Stage, which: std::ops::Range<usize>) {
    let web = stage.cluster.web(0);
    stream::iter(which)
        .for_each_concurrent(AT_ONCE, async |n| {
            let request = match n % 4 {
                0 => {
                    let method = Method::from_bytes(format!("M{n}").as_bytes()).unwrap();
                    web.request(method, &format!("/path/{n}"))
                }
                1 => {
                    let token = stage.cluster.token(&format!("user-{n}")).await;
                    let tool = json!({
                        "jsonrpc": "2.0", "id": n, "method": "tools/call",
                        "params": { "name": format!("tool_{n}"), "arguments": {}, "_meta": {
                            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                            "io.modelcontextprotocol/clientCapabilities": {},
                        } },
                    });
                    web.post(&token, tool.to_string())
                        .header("mcp-protocol-version", "2026-07-28")
                        .header("mcp-method", "tools/call")
                        .header("mcp-name", format!("tool_{n}"))
                }
                2 => web
                    .request(Method::POST, "/token")
                    .header("x-forwarded-for", visitor())
                    .header("content-type", "application/x-www-form-urlencoded")
                    .body(format!("grant_type=g{n}&client_id=c{n}&error=e{n}")),
                _ => web
                    .request(Method::GET, &format!("/authorize?client_id={}", uuid()))
                    .header("x-forwarded-for", visitor()),
            };
            Page::read(request).await;
        })
        .await;
}

#[tokio::test]
async fn metrics_are_private_and_on_the_public_port_only_with_the_token() {
    let _turn = TURN.lock().await;
    let stage = Stage::new().await;
    let private = &stage.metrics[0];
    assert_eq!(private.get("/metrics").await.status, 200);
    for path in ["/", "/mcp", "/healthz", "/account"] {
        assert_eq!(private.get(path).await.status, 404, "{path} is for the public port");
    }
    let public = stage.cluster.web(0);
    let with = async |token: &str| {
        Page::read(public.request(Method::GET, "/metrics").bearer_auth(token)).await
    };
    assert_eq!(public.get("/metrics").await.status, 404);
    assert_eq!(with("another-token").await.status, 404);
    let page = with(TOKEN).await;
    assert_eq!(page.status, 200);
    assert!(page.header("content-type").starts_with("text/plain; version=0.0.4"));
    assert_eq!(page.header("cache-control"), "no-store");
    assert!(page.text().contains("build_info{"));

    let closed = Setup::new(Database::Sqlite).product(notes::product).start().await;
    let asked = closed.web(0).request(Method::GET, "/metrics").bearer_auth(TOKEN);
    assert_eq!(Page::read(asked).await.status, 404, "without METRICS_TOKEN nothing opens it");
}

#[tokio::test]
async fn a_scrape_ends_although_the_database_does_not_answer() {
    let _turn = TURN.lock().await;
    let stage = Stage::new().await;
    // Nobody gets a connection any more.
    stage.cluster.app().close().await;
    let text = stage.scrape().await;
    assert!(text.contains("dependency_up{dependency=\"database\"} 0"), "{text}");
    assert!(text.contains("database_ping_seconds NaN"), "{text}");
    assert!(text.contains("dependency_up{dependency=\"redis\"} 1"), "{text}");
}

#[tokio::test]
async fn web_shows_how_often_the_worker_ran_each_schedule() {
    let github = GitHub::start().await;
    // With a public URL web has no worker inside: what it shows was written by the other process.
    let plan = Plan::new(processes::Kind::Product(notes::product))
        .instances(1)
        .workers(1)
        .with_github(&github);
    let mut fleet = plan
        .with("PUBLIC_URL", "https://notes.example.com")
        .with("HOST", "127.0.0.1")
        .with("METRICS_TOKEN", TOKEN)
        .start()
        .await;
    let lost_jobs = async |what: &str, reached: fn(Runs) -> bool| {
        eventually(what, async || {
            let totals = schedule_runs::totals(fleet.app().jobs()).await.unwrap();
            totals.get("lost-jobs").is_some_and(|&runs| reached(runs)).then_some(())
        })
        .await;
    };
    lost_jobs("the schedule runs", |runs| runs.ran >= 1).await;
    fleet.execute("ALTER TABLE jobs RENAME TO hidden").await;
    lost_jobs("the schedule fails", |runs| runs.failed >= 1).await;
    fleet.execute("ALTER TABLE hidden RENAME TO jobs").await;
    fleet.drain_worker(0).await;

    let totals = schedule_runs::totals(fleet.app().jobs()).await.unwrap();
    assert_eq!(totals.len(), worker::schedules::all(&notes::product()).len(), "{totals:?}");
    let expected: BTreeSet<String> = totals
        .iter()
        .flat_map(|(schedule, runs)| {
            [("ran", runs.ran), ("failed", runs.failed)].map(|(outcome, count)| {
                format!(
                    "schedule_runs_total{{schedule=\"{schedule}\",outcome=\"{outcome}\"}} {count}"
                )
            })
        })
        .collect();
    eventually("web shows the totals", async || {
        let asked = fleet.web(0).request(Method::GET, "/metrics").bearer_auth(TOKEN);
        let page = Page::read(asked.header("host", "notes.example.com")).await;
        assert_eq!(page.status, 200, "{}", page.text());
        let shown = page.text();
        let shown: BTreeSet<&str> = shown.lines().collect();
        expected.iter().all(|line| shown.contains(line.as_str())).then_some(())
    })
    .await;
}
