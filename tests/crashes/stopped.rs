//! Processes that are stopped (`SIGSTOP`) for longer than every lease and timeout, and go on.

use std::time::{Duration, Instant};

use mcp::UserId;
use serde_json::{Value, json};
use tests::{
    client::{Event, Web, restart},
    eventually,
    fixtures::{at_gate, items},
    processes::{Kind, Plan, Signal},
};

use crate::{RESTARTED, REVISION, item, lasts, shown};

/// How long a process is stopped: longer than the lease of a job (30 s).
const STOPPED: Duration = Duration::from_secs(40);

/// How long a client waits for a stopped instance before it gives up.
const CLIENT: Duration = Duration::from_secs(2);

/// Number of writes whose client gives up.
const ABANDONED: usize = 5;

/// The progress and the text in events.
pub(crate) fn told(events: &[Event]) -> Vec<String> {
    let messages = events.iter().filter_map(|event| event.message.as_ref());
    let text = |message: &Value| {
        let progress = || message["params"]["progress"].as_f64().map(|it| it.to_string());
        let result = || Some(message["result"]["content"][0]["text"].as_str()?.to_owned());
        restart(message).map(str::to_owned).or_else(progress).or_else(result).unwrap()
    };
    messages.map(text).collect()
}

#[tokio::test]
async fn an_instance_stopped_for_40_s_adds_nothing_and_serves_again() {
    let mut fleet = Plan::new(Kind::Fixtures).instances(2).start().await;
    let token = fleet.token("ada").await;
    let ada = fleet.web(0).legacy(&token, REVISION).await;
    let modern = fleet.web(0).modern(&token);
    let balancer = fleet.balancer(None);
    let through = Web::new(balancer.origin());
    let gate = fleet.gate("a");
    gate.step();
    let mut stream = ada.open("tools/call", at_gate("test_gate_repeatable", "a", 3)).await;
    let first = stream.next_message().await;
    gate.reached(2).await;
    fleet.instance(0).stop().await;
    let stopped = Instant::now();

    // The system accepts the connections; the clients give up.
    for number in 0..ABANDONED {
        let title = format!("abandoned {number}");
        let params = json!({ "name": "items_create", "arguments": item(&title) });
        let request = modern.body("tools/call", params);
        let sent = fleet
            .web(0)
            .post(&token, request.to_string())
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", "tools/call")
            .header("mcp-name", "items_create")
            .timeout(CLIENT)
            .send()
            .await;
        assert!(sent.is_err_and(|it| it.is_timeout()));
    }
    // The load balancer has noticed.
    for number in 0..10 {
        let title = format!("elsewhere {number}");
        let created = shown::modern(&modern.at(&through), "items_create", item(&title)).await;
        assert!(created.is_success(), "{created:?}");
    }
    assert!(shown::ping(&ada.at(&through)).await.is_success());
    // One turn for the run that is stopped, and three for the one that takes over.
    for _ in 0..4 {
        gate.step();
    }
    let last = first.id.unwrap();
    let heard = ada.at(fleet.web(1)).resume(&last).await.rest().await;
    assert_eq!(told(&heard), ["2", "3", "passed 3 times"]);

    lasts(STOPPED.saturating_sub(stopped.elapsed())).await;
    fleet.instance(0).signal(Signal::CONT);
    eventually("the instance is ready", async || {
        (fleet.web(0).get("/healthz").await.status == 200).then_some(())
    })
    .await;
    let again = ada.resume(&last).await.rest().await;
    assert_eq!(told(&again), ["2", "3", "passed 3 times"], "its later writes are rejected");
    let created = shown::modern(&modern, "items_create", item("last")).await;
    assert!(created.is_success(), "{created:?}");
    assert!(shown::ping(&ada).await.is_success());
    let titles = items::titles(fleet.app().db(), &UserId::new("dev:ada")).await.unwrap();
    for number in 0..ABANDONED {
        let title = format!("abandoned {number}");
        let times = titles.iter().filter(|it| **it == title).count();
        assert!(times <= 1, "{title} is there {times} times");
    }
    let elsewhere = titles.iter().filter(|it| it.starts_with("elsewhere")).count();
    assert_eq!(elsewhere, 10, "{titles:?}");
}

#[tokio::test]
async fn a_worker_stopped_for_40_s_adds_nothing_and_works_again() {
    let mut fleet = Plan::new(Kind::Fixtures).instances(1).workers(2).start().await;
    // One worker only, so that it is known which one runs the job.
    fleet.drain_worker(1).await;
    let token = fleet.token("ada").await;
    let ada = fleet.web(0).legacy(&token, REVISION).await;
    let modern = fleet.web(0).modern(&token).with_tasks();
    let gate = fleet.gate("a");
    gate.step();
    let mut stream = ada.open("tools/call", at_gate("test_job_gate", "a", 3)).await;
    let first = stream.next_message().await;
    gate.reached(2).await;
    fleet.worker(0).stop().await;
    let stopped = Instant::now();
    fleet.start_worker_again(1).await;

    // Other jobs do not wait for the lease.
    let made = modern.tool("slow_compute", json!({ "label": "tea" })).await;
    let done = crate::ended(&modern, &made.result()["taskId"]).await;
    assert_eq!(done["status"], "completed", "{done}");
    lasts(STOPPED.saturating_sub(stopped.elapsed())).await;
    gate.reached(3).await;
    fleet.worker(0).signal(Signal::CONT);
    // One turn for the run that was stopped, and two for the one that goes on.
    for _ in 0..3 {
        gate.step();
    }
    let mut events = vec![first];
    let last = events[0].id.clone().unwrap();
    drop(stream);
    // The stream as its log has it.
    events.extend(ada.resume(&last).await.rest().await);
    let expected = ["0", "1", RESTARTED, "2", "3", "passed 3 times, 1 of them before"];
    assert_eq!(told(&events), expected);
    eventually("the worker works again", async || {
        (fleet.probes(0).get("/healthz").await.status == 200).then_some(())
    })
    .await;
    fleet.drain_worker(1).await;
    let made = modern.tool("slow_compute", json!({ "label": "milk" })).await;
    let done = crate::ended(&modern, &made.result()["taskId"]).await;
    assert_eq!(done["status"], "completed", "{done}");
}
