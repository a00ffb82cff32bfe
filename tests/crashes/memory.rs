//! Redis that has reached `maxmemory` and must not evict.

use serde_json::{Value, json};
use tests::{
    browser::{Browser, ClientApp},
    eventually,
    github::GitHub,
    processes::{Fleet, Kind, Plan},
};

use crate::{REVISION, ended, item, shown};

/// Makes Redis refuse writes: a key takes up more than the limit allows.
async fn fill(fleet: &mut Fleet) {
    for command in ["CONFIG SET maxmemory 6mb", "SETRANGE ballast 8000000 x"] {
        let answer = fleet.redis().command(command).await.unwrap();
        assert!(!answer.starts_with('-'), "{command}: {answer}");
    }
    let refused = fleet.redis().command("SET more x").await.unwrap();
    assert!(refused.starts_with("-OOM"), "{refused}");
}

#[tokio::test]
async fn a_full_redis_refuses_new_sessions_and_sign_ins_and_serves_the_rest() {
    let github = GitHub::start().await;
    let plan = Plan::new(Kind::Fixtures).instances(2).workers(1).with_github(&github);
    let mut fleet = plan.start().await;
    let token = fleet.token("ada").await;
    let ada = fleet.web(0).legacy(&token, REVISION).await;
    let modern = fleet.web(1).modern(&token).with_tasks();
    let browser = Browser::of(fleet.origin(), fleet.web(0));
    let app = ClientApp::register(fleet.web(0)).await;
    fill(&mut fleet).await;

    for index in 0..2 {
        let refused = shown::initialize(fleet.web(index), &token).await;
        assert!(refused.is_told_to_wait(), "{refused:?}");
    }
    let begun = browser.get(&app.asks().path()).await;
    assert_eq!(begun.status, 503, "{}", begun.text());
    assert!(!begun.header("retry-after").is_empty());
    // What needs no new key goes on, in both eras.
    for index in 0..2 {
        let session = ada.at(fleet.web(index));
        let created = shown::legacy(&session, "items_create", item("Tea")).await;
        assert!(created.is_success(), "{created:?}");
        assert!(shown::ping(&session).await.is_success());
    }
    let created = shown::modern(&modern, "items_create", item("Tea")).await;
    assert!(created.is_success(), "{created:?}");
    let made = modern.tool("slow_compute", json!({ "label": "tea" })).await;
    let done = ended(&modern, &made.result()["taskId"]).await;
    assert_eq!(done["status"], "completed", "{done}");
    // Progress needs a log for its stream. Without one, the call still has its result.
    let count = json!({
        "name": "test_count",
        "arguments": { "steps": 2, "pause_ms": 5 },
        "_meta": { "progressToken": "count" },
    });
    let counted = ada.call("tools/call", count.clone()).await;
    assert!(shown::Shown::of(&counted).is_success(), "{counted:?}");
    assert!(counted.before.is_empty(), "{counted:?}");
    let health = fleet.web(0).get("/healthz").await;
    assert_eq!(health.status, 200, "{}", health.text());
    assert!(health.json()["warning"].as_str().unwrap().contains("Redis"), "{}", health.text());

    fleet.redis().command("DEL ballast").await.unwrap();
    eventually("sessions begin again", async || {
        shown::initialize(fleet.web(0), &token).await.is_success().then_some(())
    })
    .await;
    assert_eq!(browser.get(&app.asks().path()).await.status, 303);
    let counted = ada.call("tools/call", count).await;
    assert_eq!(counted.before.len(), 2, "{counted:#?}");
    assert_eq!(ada.call("ping", Value::Null).await.result(), &json!({}));
}
