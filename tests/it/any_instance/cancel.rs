//! A cancellation stops the call at whichever instance it runs.

use serde_json::{Value, json};
use tests::{fixtures::at_gate, processes::Fleet};

use super::REVISION;

#[tokio::test]
async fn a_cancel_at_any_instance_stops_a_call_on_another() {
    let fleet = Fleet::fixtures().await;
    let ada = fleet.web(0).legacy(fleet.token("ada").await, REVISION).await;
    let gate = fleet.gate("a");
    gate.step();
    let body = ada.body("tools/call", at_gate("test_gate", "a", 3));
    let mut stream = ada.send(&body).await;
    let first = stream.next_message().await;
    gate.reached(2).await;

    let cancelled = json!({ "requestId": body["id"] });
    let elsewhere = ada.at(fleet.web(2));
    assert_eq!(elsewhere.notify("notifications/cancelled", cancelled).await, 202);
    gate.stopped(1).await;
    assert!(stream.rest().await.iter().all(|it| it.message.is_none()), "no answer");
    let again = elsewhere.resume(first.id.as_deref().unwrap()).await.rest().await;
    assert!(again.iter().all(|it| it.message.is_none()), "not later either: {again:#?}");
}

#[tokio::test]
async fn a_call_that_waits_for_its_client_is_cancelled_at_any_instance() {
    let fleet = Fleet::fixtures().await;
    let ada = fleet.web(0).legacy(fleet.token("ada").await, REVISION).await;
    let call = json!({ "name": "test_elicitation", "arguments": { "message": "Who are you?" } });
    let body = ada.body("tools/call", call);
    let mut stream = ada.send(&body).await;
    let question = stream.next_message().await.message.unwrap();

    let elsewhere = ada.at(fleet.web(1));
    let cancelled = json!({ "requestId": body["id"] });
    assert_eq!(elsewhere.notify("notifications/cancelled", cancelled).await, 202);
    assert!(stream.rest().await.iter().all(|it| it.message.is_none()), "no answer");
    assert_eq!(elsewhere.respond(&question, json!({ "action": "decline" })).await, 202);
    assert_eq!(elsewhere.call("ping", Value::Null).await.result(), &json!({}));
}
