//! A job is not bound to a worker: another worker continues it from its checkpoint.

use serde_json::json;
use tests::{
    fixtures::at_gate,
    processes::{Fleet, Kind, Plan, Signal},
};

use super::{REVISION, told};

const RESTARTED: &str = "The worker stopped; the job was started again (attempt 2).";

/// Two workers whose leases end after three seconds.
async fn fleet() -> Fleet {
    let plan = Plan::new(Kind::Fixtures).instances(2).workers(2);
    plan.with("TEST_LEASE", "3").start().await
}

#[tokio::test]
async fn a_job_of_a_lost_worker_goes_on_from_its_checkpoint() {
    let mut fleet = fleet().await;
    let ada = fleet.web(0).legacy(fleet.token("ada").await, REVISION).await;
    let gate = fleet.gate("a");
    gate.step();
    let mut stream = ada.open("tools/call", at_gate("test_job_gate", "a", 3)).await;
    let mut events = vec![stream.next_message().await, stream.next_message().await];
    gate.reached(2).await;
    for worker in 0..fleet.workers() {
        fleet.kill_worker(worker).await;
    }
    gate.stopped(1).await;

    let draft = json!({ "title": "Tea", "body": "Two minutes." });
    ada.at(fleet.web(1)).tool("items_create", draft).await.output();
    fleet.start_worker_again(1).await;
    // One turn for the run that was stopped, and two for the one that goes on.
    for _ in 0..3 {
        gate.step();
    }
    events.extend(stream.rest().await);
    let expected = ["0", "1", RESTARTED, "2", "3", "passed 3 times, 1 of them before"];
    assert_eq!(told(&events), expected);
}

#[tokio::test]
async fn a_worker_that_was_only_slow_adds_nothing() {
    let mut fleet = fleet().await;
    // One worker only, so that it is known which one runs the job.
    fleet.drain_worker(1).await;
    let ada = fleet.web(0).legacy(fleet.token("ada").await, REVISION).await;
    let gate = fleet.gate("a");
    gate.step();
    let mut stream = ada.open("tools/call", at_gate("test_job_gate", "a", 3)).await;
    let first = stream.next_message().await;
    gate.reached(2).await;
    fleet.worker(0).stop().await;

    fleet.start_worker_again(1).await;
    gate.reached(3).await;
    // One turn for the run that sleeps, and two for the one that goes on.
    for _ in 0..3 {
        gate.step();
    }
    let rest = ["1", RESTARTED, "2", "3", "passed 3 times, 1 of them before"];
    assert_eq!(told(&stream.rest().await), rest);
    // It continues in the middle of its run, and finds that another worker has the job.
    fleet.worker(0).signal(Signal::CONT);
    fleet.drain_worker(0).await;
    let again = ada.at(fleet.web(1)).resume(first.id.as_deref().unwrap()).await.rest().await;
    assert_eq!(told(&again), rest);
}
