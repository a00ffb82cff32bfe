//! An instance that is asked to end says so on every stream and ends, whatever its clients do.

use serde_json::{Value, json};
use tests::{client::Page, cluster::Cluster, schema::Revision};

#[tokio::test]
async fn listeners_get_their_result_and_sessions_go_on_elsewhere() {
    let mut cluster = Cluster::on_sqlite(2).await;
    let token = cluster.token("ada").await;
    let modern = cluster.web(0).modern(&token);
    let (mut listening, _) = modern.listen(json!({ "toolsListChanged": true })).await;
    let legacy = cluster.web(0).legacy(&token, Revision::November2025).await;
    let mut standalone = legacy.listen().await;
    let priming = standalone.next().await.unwrap();

    cluster.shut_down(0);
    let last = listening.message().await;
    assert_eq!(last["result"]["resultType"], "complete", "{last:#}");
    assert!(
        last.pointer("/result/_meta/io.modelcontextprotocol~1subscriptionId").is_some(),
        "{last:#}"
    );
    assert_eq!(listening.next().await, None);
    let left = standalone.rest().await;
    assert!(left.iter().any(|event| event.retry.is_some()), "when to come back: {left:#?}");
    drop((listening, standalone));
    cluster.ended(0).await;

    let elsewhere = legacy.at(cluster.web(1));
    assert_eq!(elsewhere.call("ping", Value::Null).await.result(), &json!({}));
    let mut resumed = elsewhere.resume(priming.id.as_deref().unwrap()).await;
    assert_eq!(resumed.status(), 200);
    elsewhere.tool("test_trigger_tool_change", json!({})).await;
    // Whatever may have changed while it was away comes first.
    while resumed.message().await["method"] != "notifications/tools/list_changed" {}
}

#[tokio::test]
async fn a_running_call_may_finish() {
    let mut cluster = Cluster::on_sqlite(1).await;
    let ada = cluster.web(0).modern(cluster.token("ada").await);
    let gate = cluster.gate("a");
    let call = ada.tool("test_gate", json!({ "gate": "a" }));
    let answer = async {
        gate.reached(1).await;
        cluster.shut_down(0);
        gate.step();
    };
    let (answer, ()) = tokio::join!(call, answer);
    assert_eq!(answer.text(), "passed 1 times");
    cluster.ended(0).await;
}

#[tokio::test]
async fn an_instance_ends_in_time_though_a_call_does_not() {
    let mut cluster = tests::cluster::Setup::new(tests::cluster::Database::Sqlite)
        .with("SHUTDOWN_TIMEOUT", "1s")
        .start()
        .await;
    let ada = cluster.web(0).modern(cluster.token("ada").await);
    let call = tokio::spawn(async move {
        let body = ada.body(
            "tools/call",
            json!({
                "name": "test_gate",
                "arguments": { "gate": "never" },
            }),
        );
        ada.send(&body).await.rest().await
    });
    cluster.gate("never").reached(1).await;
    cluster.shut_down(0);
    cluster.ended(0).await;
    call.abort();
}

#[tokio::test]
async fn an_instance_that_is_ending_is_not_ready() {
    let mut cluster = Cluster::on_sqlite(1).await;
    let web = cluster.web(0).clone();
    assert_eq!(web.get("/healthz").await.status, 200);
    let ada = web.modern(cluster.token("ada").await);
    let gate = cluster.gate("a");
    let call = tokio::spawn(async move { ada.tool("test_gate", json!({ "gate": "a" })).await });
    gate.reached(1).await;
    cluster.shut_down(0);
    tests::eventually("readiness becomes false", async || {
        let page: Page = web.get("/healthz").await;
        (page.status == 503).then_some(())
    })
    .await;
    gate.step();
    assert_eq!(call.await.unwrap().text(), "passed 1 times");
    cluster.ended(0).await;
}
