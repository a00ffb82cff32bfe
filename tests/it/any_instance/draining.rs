//! An instance that is asked to shut down loses nothing, and exits in time.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use mcp::UserId;
use serde_json::json;
use tests::{
    client::{Legacy, Modern},
    fixtures::items,
    processes::{Fleet, Kind, Plan},
};

use super::{REVISION, ended, told};

/// What a client did during the restarts.
#[derive(Default)]
struct Load {
    done: AtomicBool,
    calls: AtomicUsize,
}

async fn legacy_client(ada: Legacy, load: Arc<Load>) {
    while !load.done.load(Ordering::Relaxed) {
        let token = load.calls.fetch_add(1, Ordering::Relaxed);
        let call = json!({
            "name": "test_tool_with_progress",
            "arguments": {},
            "_meta": { "progressToken": token },
        });
        let events = ada.persist("tools/call", call).await;
        assert_eq!(told(&events), ["0", "50", "100", "Done"], "every event once, in order");
    }
}

async fn modern_client(ada: Modern, load: Arc<Load>) {
    while !load.done.load(Ordering::Relaxed) {
        load.calls.fetch_add(1, Ordering::Relaxed);
        let answer = ada.call(
            "tools/call",
            json!({
                "name": "test_tool_with_progress",
                "arguments": {},
                "_meta": { "progressToken": "modern" },
            }),
        );
        let answer = answer.await;
        assert_eq!((answer.before.len(), answer.text()), (3, "Done"));
    }
}

async fn client_with_jobs(ada: Legacy, load: Arc<Load>) {
    while !load.done.load(Ordering::Relaxed) {
        let token = load.calls.fetch_add(1, Ordering::Relaxed);
        let call = json!({
            "name": "test_count_job",
            "arguments": { "steps": 3, "pause_ms": 20 },
            "_meta": { "progressToken": token },
        });
        let events = ada.persist("tools/call", call).await;
        assert_eq!(told(&events), ["0", "1", "2", "3", "counted to 3"], "every event once");
    }
}

async fn client_with_tasks(ada: Modern, load: Arc<Load>) {
    while !load.done.load(Ordering::Relaxed) {
        load.calls.fetch_add(1, Ordering::Relaxed);
        let arguments = json!({ "steps": 3, "pause_ms": 20 });
        let made = ada.tool("test_count_job", arguments).await;
        let done = ended(&ada, &made.result()["taskId"]).await;
        assert_eq!(done["result"]["content"][0]["text"], "counted to 3", "{done}");
    }
}

async fn writing_client(ada: Modern, load: Arc<Load>) -> u64 {
    let mut items = 0;
    while !load.done.load(Ordering::Relaxed) {
        load.calls.fetch_add(1, Ordering::Relaxed);
        let draft = json!({ "title": format!("Item {items}"), "body": "Written under way." });
        ada.tool("items_create", draft).await.output();
        items += 1;
    }
    items
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_under_load_loses_no_call_no_event_and_no_job() {
    let mut fleet = Plan::new(Kind::Fixtures).workers(2).start().await;
    let token = fleet.token("ada").await;
    let balancer = fleet.balancer(None);
    let web = tests::client::Web::new(balancer.origin());
    let load = Arc::new(Load::default());
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let ada = web.legacy(&token, REVISION).await;
        clients.spawn(legacy_client(ada, Arc::clone(&load)));
        clients.spawn(modern_client(web.modern(&token), Arc::clone(&load)));
    }
    let ada = web.legacy(&token, REVISION).await;
    clients.spawn(client_with_jobs(ada, Arc::clone(&load)));
    let writer = tokio::spawn(writing_client(web.modern(&token), Arc::clone(&load)));
    let at_work = async || {
        let before = load.calls.load(Ordering::Relaxed);
        tests::eventually("clients are at work", async || {
            (load.calls.load(Ordering::Relaxed) > before + 20).then_some(())
        })
        .await;
    };
    let restarts = async {
        for index in 0..fleet.workers() {
            at_work().await;
            fleet.drain_worker(index).await;
            let log = fleet.worker(index).log();
            assert!(!log.contains("could not be given back"), "it left nothing behind:\n{log}");
            fleet.start_worker_again(index).await;
        }
        for index in 0..fleet.len() {
            at_work().await;
            fleet.drain(index).await;
            let log = fleet.instance(index).log();
            assert!(!log.contains("still open after"), "it ended in time:\n{log}");
            assert!(!log.contains("Closed connections with unfinished"), "it cut nobody:\n{log}");
            fleet.start_again(index).await;
        }
        load.done.store(true, Ordering::Relaxed);
    };
    let with_tasks = client_with_tasks(web.modern(&token).with_tasks(), Arc::clone(&load));
    tokio::join!(restarts, with_tasks);
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    let written = writer.await.unwrap();
    assert_eq!(balancer.lost(), 0);
    let found = items::count(fleet.app().db(), &UserId::new("dev:ada")).await.unwrap();
    assert_eq!(found, written, "each item that was acknowledged is there once");
}

#[tokio::test]
async fn the_product_ends_in_order_while_streams_are_open_and_a_call_runs() {
    let mut fleet = Fleet::fixtures().await;
    let token = fleet.token("ada").await;
    let ada = fleet.web(0).legacy(&token, REVISION).await;
    let mut standalone = ada.listen().await;
    let first = standalone.next().await.unwrap();
    let (mut modern, _) =
        fleet.web(0).modern(&token).listen(json!({ "toolsListChanged": true })).await;
    fleet.drain(0).await;
    assert_eq!(modern.message().await["result"]["resultType"], "complete");
    assert!(standalone.rest().await.iter().any(|it| it.retry.is_some()), "when to come back");
    let resumed = ada.at(fleet.web(1)).resume(first.id.as_deref().unwrap()).await;
    assert_eq!(resumed.status(), 200);
}
