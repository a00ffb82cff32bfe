//! Following a request from web to worker, by the commands of the runbook.

use std::{process::Command, time::Duration};

use serde_json::{Value, json};
use tests::{
    eventually,
    processes::{Fleet, Kind, Plan},
};

use crate::read;

const REQUEST: &str = "the-request-that-is-followed";

/// The commands of the runbook's first block of shell.
fn commands() -> Vec<String> {
    let runbook = read("docs/runbook.md");
    let (_, block) = runbook.split_once("```sh\n").expect("the runbook has commands");
    let (block, _) = block.split_once("```").expect("the block ends");
    block.lines().map(str::to_owned).collect()
}

/// Runs a command of the runbook over the logs of a fleet, and gives the lines that it finds.
fn find(fleet: &mut Fleet, command: &str, request: &str, job: &str) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("web.log"), fleet.instance(0).log()).unwrap();
    std::fs::write(folder.path().join("worker.log"), fleet.worker(0).log()).unwrap();
    let output = Command::new("/bin/sh")
        .args(["-c", command])
        .envs([("REQUEST", request), ("JOB", job)])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(&line[line.find('{').unwrap()..]).unwrap())
        .collect()
}

#[tokio::test]
async fn a_job_is_found_by_the_request_that_started_it() {
    let mut fleet = Plan::new(Kind::Product(notes::product)).instances(1).workers(1).start().await;
    let token = fleet.token("ada").await;
    let client = fleet.web(0).modern(&token).with_header("x-request-id", REQUEST);
    client.tool("notes_export", json!({})).await.output();
    let by_request = commands().into_iter().find(|it| it.contains("$REQUEST")).unwrap();
    let by_job = commands().into_iter().find(|it| it.contains("$JOB")).unwrap();

    let job = eventually("the job is named by web", async || {
        let found = find(&mut fleet, &by_request, REQUEST, "");
        let line = found.iter().find(|it| it["route"] == "/mcp")?;
        line["job"].as_str().map(str::to_owned)
    })
    .await;
    eventually("the worker names both", async || {
        let ended = |it: &Value| it["end"] == "answered" && it["level"] == "INFO";
        let found = find(&mut fleet, &by_request, REQUEST, "");
        let of_request = found.iter().any(|it| ended(it) && it["job"] == job.as_str());
        let found = find(&mut fleet, &by_job, "", &job);
        let of_job = found.iter().any(|it| ended(it) && it["request_id"] == REQUEST);
        (of_request && of_job).then_some(())
    })
    .await;
}

/// What web and the worker have logged.
fn logs(fleet: &mut Fleet) -> [String; 2] {
    [fleet.instance(0).log(), fleet.worker(0).log()]
}

#[expect(clippy::disallowed_methods, reason = "time of real processes cannot be advanced")]
#[tokio::test]
async fn a_redis_that_is_away_fills_no_log_and_is_heard_when_it_is_back() {
    let mut fleet = Plan::new(Kind::Product(notes::product)).instances(1).workers(1).start().await;
    fleet.redis().kill().await;
    let failures = |log: &str| {
        let lines = log.lines().filter_map(|it| serde_json::from_str::<Value>(it).ok());
        lines.filter(|it| it["dependency"] == "redis" && it["level"] != "INFO").collect::<Vec<_>>()
    };
    eventually("both say that Redis is away", async || {
        logs(&mut fleet).iter().all(|log| !failures(log).is_empty()).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    for log in logs(&mut fleet) {
        let found = failures(&log);
        let mut messages: Vec<_> = found.iter().map(|it| it["message"].to_string()).collect();
        let all = messages.len();
        assert!(all <= 10, "{messages:#?}");
        messages.sort();
        messages.dedup();
        assert_eq!(messages.len(), all, "no line is written twice: {found:#?}");
    }
    fleet.redis().start_again().await;
    eventually("both say that Redis answers again", async || {
        let is_back = |log: &String| {
            let mut lines = log.lines().filter_map(|it| serde_json::from_str::<Value>(it).ok());
            lines.any(|it| it["dependency"] == "redis" && it["level"] == "INFO")
        };
        logs(&mut fleet).iter().all(is_back).then_some(())
    })
    .await;
}
