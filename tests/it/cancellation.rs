//! Cancellation of calls: a legacy client sends a notification, a modern client closes the connection.

use serde_json::json;
use tests::{client::Stream, cluster::Cluster, fixtures::at_gate, schema::Revision};

/// Progress has arrived, so that the call runs and its stream is open.
async fn first_step(stream: &mut Stream) {
    let progress = stream.expect("notifications/progress").await;
    assert_eq!(progress["params"]["progress"], 1.0);
}

#[tokio::test]
async fn a_legacy_call_is_cancelled_by_a_notification_at_any_instance_and_not_answered() {
    let cluster = Cluster::on_sqlite(2).await;
    let ada = cluster.web(0).legacy(cluster.token("ada").await, Revision::November2025).await;
    let gate = cluster.gate("a");
    gate.step();
    let call = ada.body("tools/call", at_gate("test_gate", "a", 2));
    let mut stream = ada.send(&call).await;
    first_step(&mut stream).await;

    let cancelled = json!({ "requestId": call["id"], "reason": "I changed my mind" });
    let elsewhere = ada.at(cluster.web(1));
    assert_eq!(elsewhere.notify("notifications/cancelled", cancelled).await, 202);
    gate.stopped(1).await;
    let rest = stream.rest().await;
    assert!(rest.iter().all(|event| event.message.is_none()), "no answer: {rest:#?}");
}

#[tokio::test]
async fn a_cancellation_reaches_only_the_session_it_was_sent_in() {
    let cluster = Cluster::on_sqlite(1).await;
    let token = cluster.token("ada").await;
    let one = cluster.web(0).legacy(&token, Revision::November2025).await;
    let other = cluster.web(0).legacy(&token, Revision::November2025).await;
    cluster.gate("a").step();
    cluster.gate("b").step();
    // The same id in both sessions.
    let mut call = one.body("tools/call", at_gate("test_gate", "a", 2));
    call["id"] = json!("same");
    let mut first = one.send(&call).await;
    call["params"] = at_gate("test_gate", "b", 2);
    let mut second = other.send(&call).await;
    first_step(&mut first).await;
    first_step(&mut second).await;

    let cancelled = json!({ "requestId": "same" });
    assert_eq!(one.notify("notifications/cancelled", cancelled).await, 202);
    cluster.gate("a").stopped(1).await;
    cluster.gate("b").step();
    second.expect("notifications/progress").await;
    assert_eq!(second.message().await["result"]["content"][0]["text"], "passed 2 times");
    assert_eq!(cluster.gate("b").stops(), 0);
}

#[tokio::test]
async fn a_cancellation_of_nothing_is_ignored() {
    let cluster = Cluster::on_sqlite(1).await;
    let ada = cluster.web(0).legacy(cluster.token("ada").await, Revision::November2025).await;
    for request in [json!(4711), json!("no such request")] {
        let cancelled = json!({ "requestId": request });
        assert_eq!(ada.notify("notifications/cancelled", cancelled).await, 202);
    }
    let answered = ada.tool("test_simple_text", json!({})).await;
    assert_eq!(answered.status, 200);
}

#[tokio::test]
async fn a_call_that_waits_for_an_answer_can_be_cancelled() {
    let cluster = Cluster::on_sqlite(2).await;
    let ada = cluster.web(0).legacy(cluster.token("ada").await, Revision::November2025).await;
    let call = ada.body(
        "tools/call",
        json!({
            "name": "test_elicitation", "arguments": { "message": "Who are you?" },
        }),
    );
    let mut stream = ada.send(&call).await;
    let question = stream.expect("elicitation/create").await;
    let cancelled = json!({ "requestId": call["id"] });
    let elsewhere = ada.at(cluster.web(1));
    assert_eq!(elsewhere.notify("notifications/cancelled", cancelled).await, 202);

    let rest = stream.rest().await;
    assert!(rest.iter().all(|event| event.message.is_none()), "no answer: {rest:#?}");
    // The response comes too late, which is not an error.
    assert_eq!(ada.respond(&question, json!({ "action": "decline" })).await, 202);
}

#[tokio::test]
async fn a_modern_client_cancels_by_going_away() {
    let cluster = Cluster::on_sqlite(1).await;
    let ada = cluster.web(0).modern(cluster.token("ada").await);
    let gate = cluster.gate("a");
    gate.step();
    let mut stream = ada.open("tools/call", at_gate("test_gate", "a", 2)).await;
    first_step(&mut stream).await;
    drop(stream);
    gate.stopped(1).await;
}

#[tokio::test]
async fn a_modern_client_may_go_away_before_anything_was_answered() {
    let cluster = Cluster::on_sqlite(1).await;
    let ada = cluster.web(0).modern(cluster.token("ada").await);
    let gate = cluster.gate("a");
    let call =
        tokio::spawn(async move { ada.open("tools/call", at_gate("test_gate", "a", 1)).await });
    gate.reached(1).await;
    call.abort();
    gate.stopped(1).await;
}

#[tokio::test]
async fn a_legacy_client_that_goes_away_cancels_nothing() {
    let cluster = Cluster::on_sqlite(2).await;
    for revision in Revision::LEGACY {
        let ada = cluster.web(0).legacy(cluster.token("ada").await, revision).await;
        let name = format!("gate of {revision}");
        let gate = cluster.gate(&name);
        gate.step();
        let mut stream = ada.open("tools/call", at_gate("test_gate", &name, 2)).await;
        let seen = loop {
            let event = stream.next().await.expect("the call goes on");
            if event.message.is_some() {
                break event.id.expect("an event of a session has an id");
            }
        };
        drop(stream);
        gate.step();

        let mut rest = ada.at(cluster.web(1)).resume(&seen).await;
        assert_eq!(rest.expect("notifications/progress").await["params"]["progress"], 2.0);
        assert_eq!(rest.message().await["result"]["content"][0]["text"], "passed 2 times");
        assert_eq!(gate.stops(), 0);
    }
}
