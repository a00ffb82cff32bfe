//! PostgreSQL that crashes while it is written to.

use std::time::{Duration, Instant};

use serde_json::json;
use tests::{
    eventually, fixtures,
    processes::{Fleet, Kind, Plan, Postgres},
};

use crate::{ended, load::Load};

/// The time from the restart of the server until a write is acknowledged again, with a reserve for a busy
/// machine.
const RECOVERY: Duration = Duration::from_secs(10);

/// Number of crashes.
const CRASHES: usize = 2;

async fn health(fleet: &Fleet, index: usize, status: u16) {
    eventually(&format!("readiness is {status}"), async || {
        (fleet.web(index).get("/healthz").await.status == status).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_killed_under_load_has_every_acknowledged_write() {
    let mut server = Postgres::start().await;
    let database = server.database(&fixtures::product()).await;
    let plan = Plan::new(Kind::Fixtures).instances(2).workers(1).with("TEST_LEASE", "3");
    let fleet = plan.on(database).start().await;
    let ada = fleet.web(0).modern(fleet.token("ada").await).with_tasks();
    let arguments = json!({ "steps": 100, "pause_ms": 50 });
    let counting = ada.tool("test_count_job", arguments).await.result()["taskId"].clone();

    let load = Load::start(&fleet, &[0, 1]).await;
    for _ in 0..CRASHES {
        load.more(100).await;
        server.kill().await;
        load.refused(5).await;
        health(&fleet, 0, 503).await;
        assert_eq!(fleet.web(0).get("/livez").await.status, 200);
        ada.call("tools/list", json!({})).await.result();
        server.start_again().await;
        let began = Instant::now();
        load.more(10).await;
        assert!(began.elapsed() < RECOVERY, "{:?}", began.elapsed());
        health(&fleet, 0, 200).await;
    }
    load.more(100).await;
    for shown in load.end(&fleet).await {
        assert!(shown.is_tool_error_to_retry(), "{shown:?}");
    }
    let counted = ended(&ada.at(fleet.web(1)), &counting).await;
    assert_eq!(counted["result"]["content"][0]["text"], "counted to 100", "{counted}");
}
