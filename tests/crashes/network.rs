//! A network that delays, drops and cuts what an instance exchanges with Redis and PostgreSQL.

use std::time::Duration;

use serde_json::{Value, json};
use tests::{
    eventually,
    fixtures::at_gate,
    processes::{Fleet, Kind, Plan, Wires},
};

use crate::{REVISION, ended, item, lasts, load::Load, shown};

/// Upper bound of the wait for a statement, with a reserve for a busy machine.
const STATEMENT: Duration = Duration::from_secs(20);

/// Upper bound of the wait for Redis: its limits on a command, on a check and on connecting, with a reserve.
const COMMAND: Duration = Duration::from_secs(8);

/// What a session is told when an item was created.
const CHANGED: &str = "notifications/resources/list_changed";

/// Number of times that all connections to the database are cut.
const CUTS: usize = 10;

async fn fleet(workers: usize) -> Fleet {
    Plan::new(Kind::Fixtures).instances(2).workers(workers).own_wires().start().await
}

/// Delays both connections of an instance.
fn delay(Wires { redis, database }: &Wires, delay: Duration) {
    redis.delay(delay);
    database.delay(delay);
}

/// Waits until the readiness of an instance has this status.
async fn health(fleet: &Fleet, index: usize, status: u16) {
    eventually(&format!("readiness is {status}"), async || {
        (fleet.web(index).get("/healthz").await.status == status).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_slow_network_delays_calls_and_refuses_none() {
    let fleet = fleet(1).await;
    let token = fleet.token("ada").await;
    let ada = fleet.web(0).legacy(&token, REVISION).await;
    let modern = fleet.web(0).modern(&token);
    for index in 0..2 {
        // A round trip takes 200 ms.
        delay(fleet.wires(index), Duration::from_millis(100));
    }
    for shown in [
        shown::modern(&modern, "items_create", item("Tea")).await,
        shown::legacy(&ada, "items_create", item("Tea")).await,
        shown::legacy(&ada.at(fleet.web(1)), "items_list", json!({})).await,
        shown::ping(&ada).await,
        shown::initialize(fleet.web(1), &token).await,
    ] {
        assert!(shown.is_success(), "{shown:?}");
    }
    // The gate is open for all steps.
    (0..3).for_each(|_| fleet.gate("a").step());
    let events = ada.persist("tools/call", at_gate("test_gate", "a", 3)).await;
    assert_eq!(events.len(), 4, "{events:#?}");
    let made = modern.with_tasks().tool("slow_compute", json!({ "label": "tea" })).await;
    let done = ended(&modern.with_tasks(), &made.result()["taskId"]).await;
    assert_eq!(done["status"], "completed", "{done}");
    assert_eq!(fleet.web(0).get("/healthz").await.status, 200);
}

#[tokio::test]
async fn a_redis_beyond_its_time_limit_is_like_none_and_a_slow_postgres_is_slow() {
    let fleet = fleet(0).await;
    let token = fleet.token("ada").await;
    let ada = fleet.web(0).legacy(&token, REVISION).await;
    let modern = fleet.web(0).modern(&token);
    shown::modern(&modern, "items_create", item("Tea")).await;

    // A round trip takes 4 s, and a command may take 2 s.
    fleet.wires(0).redis.delay(Duration::from_secs(2));
    let (refused, time) = shown::timed(shown::ping(&ada)).await;
    assert!(refused.is_told_to_wait(), "{refused:?}");
    assert!(time < COMMAND, "{time:?}");
    let (created, time) = shown::timed(shown::modern(&modern, "items_create", item("Tea"))).await;
    assert!(created.is_success(), "{created:?}");
    assert!(time < COMMAND, "{time:?}");
    assert!(shown::ping(&ada.at(fleet.web(1))).await.is_success(), "the other one has no delay");
    fleet.wires(0).redis.mend();
    eventually("the session goes on", async || shown::ping(&ada).await.is_success().then_some(()))
        .await;

    fleet.wires(0).database.delay(Duration::from_secs(2));
    let (listed, time) = shown::timed(shown::modern(&modern, "items_list", json!({}))).await;
    // The connection is checked before it is used, and a new one needs several round trips.
    assert!(listed.is_tool_error_to_retry(), "{listed:?}");
    assert!(time < STATEMENT, "{time:?}");
    health(&fleet, 0, 503).await;
    fleet.wires(0).database.mend();
    health(&fleet, 0, 200).await;
    let listed = shown::legacy(&ada, "items_list", json!({})).await;
    assert!(listed.is_success(), "{listed:?}");
}

#[tokio::test]
async fn an_instance_that_redis_does_not_answer_refuses_sessions_until_it_does() {
    let fleet = fleet(0).await;
    let token = fleet.token("ada").await;
    let ada = fleet.web(0).legacy(&token, REVISION).await;
    let modern = fleet.web(0).modern(&token);
    let mut listening = ada.listen().await;
    let mut last = listening.next().await.unwrap().id.unwrap();
    fleet.wires(0).redis.freeze();

    let (refused, time) = shown::timed(shown::ping(&ada)).await;
    assert!(refused.is_told_to_wait(), "{refused:?}");
    assert!(time < COMMAND, "{time:?}");
    let (created, time) = shown::timed(shown::modern(&modern, "items_create", item("Tea"))).await;
    assert!(created.is_success(), "{created:?}");
    assert!(time < COMMAND, "{time:?}");
    assert_eq!(fleet.web(0).get("/healthz").await.status, 200);
    let elsewhere = ada.at(fleet.web(1));
    let listed = shown::legacy(&elsewhere, "items_list", json!({})).await;
    assert!(listed.is_success(), "{listed:?}");
    // A client that resumes its stream at another instance is told what may have changed meanwhile.
    let created = shown::legacy(&elsewhere, "items_create", item("Milk")).await;
    assert!(created.is_success(), "{created:?}");
    let mut resumed = elsewhere.resume(&last).await;
    resumed.until(CHANGED).await;
    drop(resumed);

    fleet.wires(0).redis.mend();
    eventually("the session goes on", async || shown::ping(&ada).await.is_success().then_some(()))
        .await;
    // The stream that was open all the time goes on, or was closed: then its client resumes it.
    tests::in_time("the listener hears of a change", async {
        loop {
            let created = shown::legacy(&ada, "items_create", item("Bread")).await;
            assert!(created.is_success(), "{created:?}");
            match tokio::time::timeout(Duration::from_secs(1), listening.next()).await {
                Ok(Some(event)) => {
                    last = event.id.unwrap_or(last);
                    if event.message.is_some_and(|it| it["method"] == CHANGED) {
                        break;
                    }
                }
                Ok(None) => listening = ada.resume(&last).await,
                Err(_elapsed) => {}
            }
        }
    })
    .await;
}

#[tokio::test]
async fn an_instance_that_postgres_does_not_answer_is_left_by_the_load_balancer() {
    let mut fleet = fleet(0).await;
    let token = fleet.token("ada").await;
    let ada = fleet.web(0).legacy(&token, REVISION).await;
    let modern = fleet.web(0).modern(&token);
    let balancer = fleet.balancer(None);
    let through = tests::client::Web::new(balancer.origin());
    fleet.wires(0).database.freeze();

    let shown = async {
        tokio::join!(
            shown::timed(shown::modern(&modern, "items_list", json!({}))),
            shown::timed(shown::legacy(&ada, "items_list", json!({}))),
        )
    };
    let (first, second) = shown.await;
    for (shown, time) in [first, second] {
        assert!(shown.is_tool_error_to_retry(), "{shown:?}");
        assert!(time < STATEMENT, "{time:?}");
    }
    assert!(shown::ping(&ada).await.is_success());
    modern.call("tools/list", Value::Null).await.result();
    health(&fleet, 0, 503).await;
    // The balancer asks every 100 ms.
    lasts(Duration::from_secs(2)).await;
    for number in 0..10 {
        let title = format!("Tea {number}");
        let created = shown::modern(&modern.at(&through), "items_create", item(&title)).await;
        assert!(created.is_success(), "{created:?}");
        let created = shown::legacy(&ada.at(&through), "items_create", item(&title)).await;
        assert!(created.is_success(), "{created:?}");
    }
    fleet.wires(0).database.mend();
    health(&fleet, 0, 200).await;
    let listed = shown::modern(&modern, "items_list", json!({})).await;
    assert!(listed.is_success(), "{listed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_cut_again_and_again_lose_and_double_nothing() {
    let fleet = fleet(0).await;
    let load = Load::start(&fleet, &[0, 1]).await;
    for number in 0..CUTS {
        load.more(20).await;
        let wires = fleet.wires(number % 2);
        wires.database.cut();
        wires.redis.cut();
        lasts(Duration::from_millis(100)).await;
        wires.database.mend();
        wires.redis.mend();
    }
    load.more(20).await;
    for shown in load.end(&fleet).await {
        // Without its connection to Redis, an instance does not know the session.
        let is_clear = shown.is_tool_error_to_retry() || shown.is_told_to_wait();
        assert!(is_clear, "{shown:?}");
    }
}
