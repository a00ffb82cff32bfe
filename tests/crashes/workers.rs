//! Workers that are killed, stopped, or lose their connection to Redis while they run a job, with the lease
//! of production (30 s).

use std::time::Duration;

use entity::jobs::{Entity, Model};
use sea_orm::EntityTrait as _;
use serde_json::{Value, json};
use tests::{
    client::Modern,
    eventually,
    fixtures::{Gate, at_gate},
    processes::{Fleet, Kind, Plan, Signal},
};

use crate::{RESTARTED, REVISION, ended, lasts, stopped::told};

/// A job of a killed worker goes on within 10 s. More than that, because the machine may be busy, and much
/// less than the rest of the lease at the time of the death (27 s).
const TAKE_OVER: Duration = Duration::from_secs(18);

/// How long a worker stands still, or is watched after a restart of Redis: longer than the detection of a
/// dead worker takes, and shorter than the lease.
const SLOW: Duration = Duration::from_secs(15);

/// Two instances, and one worker that runs.
async fn fleet() -> Fleet {
    let mut fleet = Plan::new(Kind::Fixtures).instances(2).workers(2).start().await;
    fleet.drain_worker(1).await;
    fleet
}

/// Starts a task whose tool waits at a gate, and lets it take one of two steps.
async fn task_at(gate: &Gate, name: &str, modern: &Modern) -> Value {
    gate.step();
    let made = modern.call("tools/call", at_gate("test_job_gate", name, 2)).await;
    gate.reached(2).await;
    made.result()["taskId"].clone()
}

/// All jobs in the database.
async fn jobs(fleet: &Fleet) -> Vec<Model> {
    Entity::find().all(fleet.app().db()).await.unwrap()
}

/// The number of attempts of each job.
async fn attempts(fleet: &Fleet) -> Vec<i32> {
    jobs(fleet).await.iter().map(|job| job.attempt).collect()
}

#[tokio::test]
async fn jobs_of_a_killed_worker_go_on_long_before_their_leases_end_and_clients_are_told() {
    let mut fleet = fleet().await;
    let token = fleet.token("ada").await;
    let legacy = fleet.web(0).legacy(&token, REVISION).await;
    let modern = fleet.web(0).modern(&token);
    let (streamed, open, task) = (fleet.gate("legacy"), fleet.gate("modern"), fleet.gate("task"));
    streamed.step();
    open.step();
    let mut legacy_stream = legacy.open("tools/call", at_gate("test_job_gate", "legacy", 2)).await;
    let first = legacy_stream.next_message().await;
    let mut modern_stream = modern.open("tools/call", at_gate("test_job_gate", "modern", 2)).await;
    streamed.reached(2).await;
    open.reached(2).await;
    let id = task_at(&task, "task", &modern.with_tasks()).await;
    for progress in [0.0, 1.0] {
        let message = modern_stream.expect("notifications/progress").await;
        assert_eq!(message["params"]["progress"], progress, "{message:#}");
    }
    eventually("the progress of all jobs is stored", async || {
        jobs(&fleet).await.iter().all(|job| job.progress == Some(1.0)).then_some(())
    })
    .await;
    fleet.start_worker_again(1).await;

    fleet.kill_worker(0).await;
    let all_go_on = async {
        for gate in [&streamed, &open, &task] {
            gate.reached(3).await;
        }
    };
    tokio::time::timeout(TAKE_OVER, all_go_on).await.expect("all jobs go on");
    assert_eq!(attempts(&fleet).await, [2, 2, 2], "each was claimed once more");
    let message = modern_stream.expect("notifications/progress").await;
    assert_eq!(message["params"]["message"], RESTARTED);
    let tasks = fleet.web(1).modern(&token).with_tasks();
    eventually("the task says that it was started again", async || {
        let found = tasks.call("tasks/get", json!({ "taskId": id })).await;
        (found.result()["statusMessage"] == RESTARTED).then_some(())
    })
    .await;

    // One step for the run that was killed, and one for the one that goes on.
    for gate in [&streamed, &open, &task] {
        gate.step();
        gate.step();
    }
    let last = first.id.unwrap();
    drop(legacy_stream);
    let rest = legacy.at(fleet.web(1)).resume(&last).await.rest().await;
    let expected = ["1", RESTARTED, "2", "passed 2 times, 1 of them before"];
    assert_eq!(told(&rest), expected);
    let step = modern_stream.expect("notifications/progress").await;
    assert_eq!(step["params"]["progress"], 2.0);
    let answer = modern_stream.message().await;
    assert_eq!(answer["result"]["content"][0]["text"], expected[3], "{answer:#}");
    let done = ended(&tasks, &id).await;
    assert_eq!(done["result"]["content"][0]["text"], expected[3], "{done:#}");
}

#[tokio::test]
async fn a_worker_that_stands_still_for_half_a_lease_keeps_its_job() {
    let mut fleet = fleet().await;
    let modern = fleet.web(0).modern(fleet.token("ada").await).with_tasks();
    let gate = fleet.gate("a");
    let task = task_at(&gate, "a", &modern).await;
    fleet.start_worker_again(1).await;
    fleet.worker(0).stop().await;
    lasts(SLOW).await;
    fleet.worker(0).signal(Signal::CONT);
    gate.step();
    let done = ended(&modern, &task).await;
    assert_eq!(done["result"]["content"][0]["text"], "passed 2 times, 0 of them before");
    assert_eq!(attempts(&fleet).await, [1]);
}

#[tokio::test]
async fn a_restart_of_redis_costs_no_worker_its_job() {
    let mut fleet = fleet().await;
    let modern = fleet.web(0).modern(fleet.token("ada").await).with_tasks();
    let gate = fleet.gate("a");
    let task = task_at(&gate, "a", &modern).await;
    fleet.start_worker_again(1).await;
    // The other worker watches before and after. One that stands still cannot connect again.
    lasts(Duration::from_secs(2)).await;
    fleet.worker(0).stop().await;
    fleet.redis().kill().await;
    fleet.redis().start_again().await;
    lasts(SLOW).await;
    fleet.worker(0).signal(Signal::CONT);
    gate.step();
    let done = ended(&modern, &task).await;
    assert_eq!(done["result"]["content"][0]["text"], "passed 2 times, 0 of them before");
    assert_eq!(attempts(&fleet).await, [1]);
}
