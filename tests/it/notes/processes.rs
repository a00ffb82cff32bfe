//! The programs `notes-mcp` and `notes-mcp-worker`: probes, shutdown, running a single schedule, and commands
//! while the database does not answer.

use std::{
    cell::Cell,
    collections::BTreeMap,
    time::{Duration, Instant},
};

use mcp::{
    UserId,
    job::{JobId, JobStatus},
};
use notes::store;
use reqwest::{Method, StatusCode};
use serde_json::{json, value::to_raw_value};
use tests::{
    client::{Page, Web},
    eventually, in_time,
    processes::{Fleet, Kind, Plan, Signal},
};
use tokio::net::TcpListener;
use worker::schedules;

use super::store::draft;
use crate::{jobs_store::new_job, world::user};

/// The token for the metrics of the web process.
const METRICS_TOKEN: &str = "a-token-for-metrics-of-32-bytes-or-more";

/// Workers without instances, because an instance with a loopback URL has a worker inside.
fn workers(workers: usize) -> Plan {
    Plan::new(Kind::Product(notes::product)).instances(0).workers(workers)
}

async fn status(web: &Web, path: &str) -> StatusCode {
    web.get(path).await.status
}

/// The exported values by name and labels.
async fn series(request: reqwest::RequestBuilder) -> BTreeMap<String, String> {
    let page = Page::read(request).await;
    assert_eq!(page.status, 200, "{}", page.text());
    let text = page.text();
    let lines = text.lines().filter(|it| !it.starts_with('#'));
    let series = lines.filter_map(|it| it.rsplit_once(' '));
    series.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

async fn of_worker(fleet: &Fleet, index: usize) -> BTreeMap<String, String> {
    series(fleet.probes(index).request(Method::GET, "/metrics")).await
}

#[tokio::test]
async fn a_worker_shows_what_it_does_and_web_shows_what_became_of_jobs() {
    let plan = Plan::new(Kind::Product(notes::product)).instances(1).workers(1);
    let fleet = plan.with("METRICS_TOKEN", METRICS_TOKEN).start().await;
    fleet.worker_ready(0).await;
    assert_eq!(status(fleet.probes(0), "/healthz").await, 200);
    for (method, path, expected) in
        [(Method::GET, "/", 404), (Method::GET, "/mcp", 404), (Method::POST, "/livez", 405)]
    {
        let page = Page::read(fleet.probes(0).request(method, path)).await;
        assert_eq!(page.status, expected, "{path}");
    }
    // It cannot hold a task handle, so its calls wait for their jobs.
    let ada = fleet.web(0).modern(fleet.token("ada").await).with_capabilities(json!({}));
    let refused = ada.tool("notes_import", json!({ "text": "" })).await;
    refused.tool_error();
    // The instance has a worker inside, which may be the first one at any job.
    let exports = Cell::new(0);
    eventually("the worker runs a job", async || {
        ada.tool("notes_export", json!({})).await.output();
        exports.set(exports.get() + 1);
        let timed = r#"job_attempt_duration_seconds_count{tool="notes_export",outcome="answered"}"#;
        of_worker(&fleet, 0).await.contains_key(timed).then_some(())
    })
    .await;
    let worker = of_worker(&fleet, 0).await;
    assert_eq!(worker["worker_places"], "16");
    assert_ne!(worker["job_wait_seconds_count"], "0");
    assert_ne!(worker[r#"worker_claims_total{found="some"}"#], "0");

    let is_told = |series: &BTreeMap<String, String>| {
        let exported = &series[r#"jobs_ended_total{tool="notes_export",outcome="ok"}"#];
        let imported = &series[r#"jobs_ended_total{tool="notes_import",outcome="tool_error"}"#];
        *exported == exports.get().to_string() && imported == "1"
    };
    eventually("web shows what became of jobs", async || {
        let web = fleet.web(0).request(Method::GET, "/metrics").bearer_auth(METRICS_TOKEN);
        is_told(&series(web).await).then_some(())
    })
    .await;
    eventually("the worker shows the same", async || {
        is_told(&of_worker(&fleet, 0).await).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_worker_that_cannot_look_at_the_queue_is_unwell_until_it_can() {
    let fleet = workers(1).start().await;
    fleet.worker_ready(0).await;
    assert_eq!(status(fleet.probes(0), "/healthz").await, 200);
    fleet.database().cut();
    eventually("the worker is unwell", async || {
        (status(fleet.probes(0), "/healthz").await == 503).then_some(())
    })
    .await;
    let said = fleet.probes(0).get("/healthz").await.json();
    assert!(said["problem"].as_str().unwrap().contains("DATABASE_URL"), "{said}");
    assert_eq!(status(fleet.probes(0), "/livez").await, 200, "another process would not help");
    fleet.database().mend();
    eventually("the worker is well", async || {
        (status(fleet.probes(0), "/healthz").await == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_worker_that_is_told_to_end_gives_its_job_back_and_another_goes_on() {
    // A model that accepts every connection and never responds.
    let model = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", model.local_addr().unwrap());
    let plan = workers(2).with("LLM_URL", url).with("LLM_MODEL", "silent");
    let mut fleet = plan.with("SHUTDOWN_TIMEOUT", "3s").start().await;
    let ada = user("ada");
    store::create(fleet.app().state(), &ada, draft("Tea", "Green", &[])).await.unwrap();
    let mut digest = new_job(&ada);
    "notes_digest".clone_into(&mut digest.call.tool);
    digest.call.arguments = to_raw_value(&json!({})).unwrap();
    let id = jobs::enqueue(fleet.app().jobs(), digest).await.unwrap().id;

    let (_first, _) = in_time("the model is asked", model.accept()).await.unwrap();
    assert_eq!(job(&fleet, &ada, &id).await, JobStatus::Running);
    for worker in 0..2 {
        // A worker that answers probes handles the signal.
        fleet.worker_ready(worker).await;
        fleet.worker(worker).signal(Signal::TERM);
    }
    for worker in 0..2 {
        let status = fleet.worker(worker).ended().await;
        assert!(status.success(), "{status}:\n{}", fleet.worker(worker).log());
    }
    assert_eq!(job(&fleet, &ada, &id).await, JobStatus::Queued, "long before its lease ends");
    fleet.worker(1).start_again();
    let (_second, _) = in_time("the model is asked again", model.accept()).await.unwrap();
    assert_eq!(job(&fleet, &ada, &id).await, JobStatus::Running);
}

async fn job(fleet: &Fleet, owner: &UserId, id: &JobId) -> JobStatus {
    let found = jobs::store(fleet.app().jobs()).get(owner, id).await.unwrap();
    found.expect("there is such a job").status
}

#[tokio::test]
async fn of_two_workers_one_runs_a_schedule_that_is_due() {
    let fleet = workers(2).start().await;
    for worker in 0..2 {
        fleet.worker_ready(worker).await;
    }
    // How many of the two have come to a tick that ended like this.
    let told = async |outcome: &str| {
        let name = format!(r#"schedule_runs_total{{schedule="lost-jobs",outcome="{outcome}"}}"#);
        let both = [of_worker(&fleet, 0).await, of_worker(&fleet, 1).await];
        both.iter().filter(|it| it.get(&name).is_some_and(|count| count != "0")).count()
    };
    eventually("both come to the same tick, and one of them runs it", async || {
        (told("elsewhere").await > 0 && told("ran").await > 0).then_some(())
    })
    .await;
    assert_eq!(told("failed").await, 0);
}

#[tokio::test]
async fn every_schedule_can_be_run_by_hand() {
    let fleet = workers(0).start().await;
    let listed = fleet.run("notes-mcp-worker", &["schedules"]).await;
    assert!(listed.status.success());
    let listed = String::from_utf8(listed.stdout).unwrap();
    for schedule in schedules::all(&notes::product()) {
        let name = schedule.name;
        assert!(listed.contains(&format!("{name} ")) && listed.contains(schedule.why), "{listed}");
        let ran = fleet.run("notes-mcp-worker", &["once", name]).await;
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert!(ran.status.success() && said.contains(&format!("{name}: 0")), "{said}");
    }
    let refused = fleet.run("notes-mcp-worker", &["once", "nonsense"]).await;
    assert_eq!(refused.status.code(), Some(64));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("lost-jobs, "), "{said}");
}

#[tokio::test]
async fn commands_and_schedules_end_in_time_when_the_database_is_frozen() {
    let fleet = Plan::new(Kind::Product(notes::product)).instances(0).start().await;
    fleet.database().freeze();
    for (program, words) in [
        ("notes-mcp", &["check"][..]),
        ("notes-mcp", &["migrate", "up"]),
        ("notes-mcp-worker", &["once", "lost-jobs"]),
    ] {
        let began = Instant::now();
        let ran = fleet.run(program, words).await;
        let time = began.elapsed();
        assert!(!ran.status.success(), "{words:?}");
        assert!(time < Duration::from_secs(15), "{words:?}: {time:?}");
    }
}

#[tokio::test]
async fn a_connection_that_is_refused_is_said_to_be_refused_and_once() {
    let fleet = Plan::new(Kind::Product(notes::product)).instances(0).start().await;
    let mut url: url::Url = fleet.setting("DATABASE_URL").parse().unwrap();
    url.set_port(Some(tests::processes::free_port())).unwrap();
    let ran = fleet.run_with("notes-mcp", &["check"], &[("DATABASE_URL", url.as_str())]).await;
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert_eq!(said.matches("refused").count(), 1, "{said}");
    assert!(!said.contains("timed out"), "{said}");
}
