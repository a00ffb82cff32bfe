//! A server or network that stops responding without closing connections: waiting requests end in time,
//! and the product recovers over new connections.

use std::time::{Duration, Instant};

use serde_json::json;
use tests::{
    eventually, in_time,
    processes::{Fleet, Kind, Plan, Signal, Wire},
};
use tokio::time::timeout;

/// Upper bound of the wait for a statement, with a reserve for a busy machine.
const STATEMENT: Duration = Duration::from_secs(20);

/// `SHUTDOWN_TIMEOUT` in these tests, in seconds.
const SHUTDOWN: u64 = 5;

fn plan() -> Plan {
    Plan::new(Kind::Fixtures).instances(1).with("SHUTDOWN_TIMEOUT", format!("{SHUTDOWN}s"))
}

/// Measures the duration of a future.
async fn timed<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let began = Instant::now();
    (work.await, began.elapsed())
}

/// Sends several concurrent calls to an instance, so that it opens several connections.
async fn warm_up(fleet: &Fleet, token: &str) {
    let ada = fleet.web(0).modern(token);
    let calls = (0..8).map(|_| ada.tool("items_list", json!({})));
    for call in futures_util::future::join_all(calls).await {
        call.output();
    }
}

#[tokio::test]
async fn an_instance_replaces_database_connections_that_went_silent() {
    let fleet = plan().start().await;
    let token = fleet.token("ada").await;
    warm_up(&fleet, &token).await;
    fleet.database().silence();
    let ada = fleet.web(0).modern(&token);
    // Only a recently used connection is used without a ping. A call on it waits for its response, and its
    // failure makes the pool check all connections.
    let (first, time) = timed(ada.tool("items_list", json!({}))).await;
    assert!(time < STATEMENT, "{time:?}");
    if first.result()["isError"] == true {
        assert!(first.tool_error().contains("try again"), "what to do about it");
    }
    let calls = (0..8).map(|_| timed(ada.tool("items_list", json!({}))));
    for (listed, time) in futures_util::future::join_all(calls).await {
        listed.output();
        assert!(time < Duration::from_secs(6), "{time:?}");
    }
    let (health, time) = timed(fleet.web(0).get("/healthz")).await;
    assert_eq!(health.status, 200, "new connections work: {}", health.text());
    assert!(time < Duration::from_secs(3), "{time:?}");
    ada.tool("items_create", json!({ "title": "Tea", "body": "" })).await.output();
}

#[tokio::test]
async fn calls_end_in_time_when_the_database_is_frozen_and_work_again_afterwards() {
    let fleet = plan().start().await;
    let token = fleet.token("ada").await;
    warm_up(&fleet, &token).await;
    fleet.database().freeze();
    let ada = fleet.web(0).modern(&token);
    let calls = (0..12).map(|_| timed(ada.tool("items_list", json!({}))));
    let calls = in_time("calls end", futures_util::future::join_all(calls)).await;
    for (call, time) in calls {
        // One user may wait for only a few connections, and is refused beyond that.
        let said = match call.message["error"]["message"].as_str() {
            Some(refusal) => refusal.to_owned(),
            None => call.tool_error().to_owned(),
        };
        assert!(said.contains("try again"), "what to do about it: {said}");
        assert!(time < STATEMENT, "{time:?}");
    }
    let (health, time) = timed(fleet.web(0).get("/healthz")).await;
    assert_eq!(health.status, 503);
    assert!(time < Duration::from_secs(3), "{time:?}");
    fleet.database().mend();
    eventually("calls work again", async || {
        let listed = ada.tool("items_list", json!({})).await;
        (listed.result()["isError"] != true).then_some(())
    })
    .await;
    eventually("it is ready again", async || {
        (fleet.web(0).get("/healthz").await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn instance_and_worker_end_in_time_though_the_database_is_frozen() {
    let mut fleet = plan().workers(1).start().await;
    let token = fleet.token("ada").await;
    warm_up(&fleet, &token).await;
    fleet.database().freeze();
    let ada = fleet.web(0).modern(&token);
    let body = ada.body("tools/call", json!({ "name": "items_list", "arguments": {} }));
    let call = tokio::spawn(async move { ada.send(&body).await.rest().await });
    for program in ["instance", "worker"] {
        let program = match program {
            "instance" => fleet.instance(0),
            _ => fleet.worker(0),
        };
        program.signal(Signal::TERM);
        let (_, time) = timed(program.ended()).await;
        assert!(time < Duration::from_secs(SHUTDOWN + 3), "{time:?}");
    }
    call.abort();
}

#[tokio::test]
async fn a_worker_goes_on_when_its_database_connections_went_silent() {
    let fleet = Plan::new(Kind::Fixtures).instances(0).workers(1).start().await;
    fleet.worker_ready(0).await;
    fleet.database().silence();
    let claims = async || {
        let page = fleet.probes(0).get("/metrics").await.text().clone();
        let line = page.lines().find_map(|it| {
            it.strip_prefix(r#"worker_claims_total{found="nothing"} "#)?.parse::<u64>().ok()
        });
        line.unwrap_or_default()
    };
    let before = claims().await;
    eventually("the worker looks for jobs again", async || {
        (claims().await > before + 2).then_some(())
    })
    .await;
}

#[tokio::test]
async fn no_call_fails_when_the_database_has_closed_every_connection() {
    let fleet = plan().start().await;
    let token = fleet.token("ada").await;
    let ada = fleet.web(0).modern(&token);
    for _ in 0..3 {
        warm_up(&fleet, &token).await;
        fleet.end_database_connections().await;
        // Reads are retried, and writes do not use a connection that a read has found broken.
        warm_up(&fleet, &token).await;
        ada.tool("items_create", json!({ "title": "Tea", "body": "" })).await.output();
    }
}

#[tokio::test]
async fn a_database_that_is_writable_again_is_written_to_at_once() {
    let fleet = plan().start().await;
    let ada = fleet.web(0).modern(fleet.token("ada").await);
    let tea = || ada.tool("items_create", json!({ "title": "Tea", "body": "" }));
    let set = async |value: &str| {
        let sql = format!(
            "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = \
             {value}', current_database()); END $$"
        );
        // A session that is read-only by default may still override it.
        let sql = format!("SET transaction_read_only = off; {sql}");
        fleet.execute(&sql).await;
    };
    tea().await.output();
    set("on").await;
    fleet.end_database_connections().await;
    eventually("writes are refused", async || {
        (tea().await.result()["isError"] == true).then_some(())
    })
    .await;
    set("off").await;
    eventually("writes are taken again", async || {
        (tea().await.result()["isError"] != true).then_some(())
    })
    .await;
    for _ in 0..10 {
        tea().await.output();
    }
}

#[tokio::test]
async fn sessions_go_on_when_the_connections_to_redis_went_silent() {
    let redis = tests::redis::Server::start().await;
    let address = redis.url().trim_start_matches("redis://").parse().unwrap();
    let wire = Wire::to(address).await;
    let fleet = plan().with("REDIS_URL", format!("redis://{}", wire.address())).start().await;
    let ada = fleet.web(0).legacy(fleet.token("ada").await, super::REVISION).await;
    let mut listening = ada.listen().await;
    let first = listening.next().await.expect("a stream begins with an event");
    let mut last = first.id.expect("which has an id to resume from");
    wire.silence();
    eventually("the session is found again", async || {
        let ping = ada.body("ping", serde_json::Value::Null);
        let (page, time) = timed(ada.send_on_purpose(&ping)).await;
        assert!(time < Duration::from_secs(6), "{time:?}");
        (page.status == 200).then_some(())
    })
    .await;
    // The subscriber connection is replaced, too. The stream may have been closed in between: then the
    // client resumes it.
    in_time("the listener hears of a change", async {
        loop {
            ada.tool("test_trigger_tool_change", json!({})).await;
            match timeout(Duration::from_secs(1), listening.next()).await {
                Ok(Some(event)) => {
                    last = event.id.unwrap_or(last);
                    let method = event.message.map(|it| it["method"].clone());
                    if method == Some(json!("notifications/tools/list_changed")) {
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
