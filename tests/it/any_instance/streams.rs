//! A client that resumes at any instance receives every event once and in order, even if the instance that
//! ran its call has died.

use serde_json::{Value, json};
use tests::{
    fixtures::at_gate,
    processes::{Fleet, Signal},
};

use super::{REVISION, told};

#[tokio::test]
async fn a_call_that_only_reads_is_run_again_when_its_instance_was_killed() {
    let mut fleet = Fleet::fixtures().await;
    let ada = fleet.web(0).legacy(fleet.token("ada").await, REVISION).await;
    let gate = fleet.gate("a");
    gate.step();
    gate.step();
    let mut stream = ada.open("tools/call", at_gate("test_gate_repeatable", "a", 4)).await;
    let mut events = vec![stream.next_message().await, stream.next_message().await];
    gate.reached(3).await;
    fleet.kill(0).await;
    gate.stopped(1).await;

    // Three turns were taken before; the second run takes four more.
    for _ in 0..5 {
        gate.step();
    }
    let last = events[1].id.clone().unwrap();
    events.extend(ada.at(fleet.web(1)).resume(&last).await.rest().await);
    assert_eq!(told(&events), ["1", "2", "3", "4", "passed 4 times"]);
    let again = ada.at(fleet.web(2)).resume(&last).await.rest().await;
    assert_eq!(told(&again), ["3", "4", "passed 4 times"], "it can be heard again");
}

#[tokio::test]
async fn a_client_that_never_left_hears_the_rest_as_well() {
    let mut fleet = Fleet::fixtures().await;
    let ada = fleet.web(0).legacy(fleet.token("ada").await, REVISION).await;
    let gate = fleet.gate("a");
    gate.step();
    let mut stream = ada.open("tools/call", at_gate("test_gate_repeatable", "a", 2)).await;
    let first = stream.next_message().await;
    let mut elsewhere = ada.at(fleet.web(2)).resume(first.id.as_deref().unwrap()).await;
    gate.reached(2).await;
    fleet.kill(0).await;
    gate.stopped(1).await;
    for _ in 0..3 {
        gate.step();
    }
    assert_eq!(told(&elsewhere.rest().await), ["2", "passed 2 times"]);
}

#[tokio::test]
async fn a_call_that_may_have_taken_effect_is_answered_with_a_clear_error() {
    let mut fleet = Fleet::fixtures().await;
    let ada = fleet.web(0).legacy(fleet.token("ada").await, REVISION).await;
    let gate = fleet.gate("a");
    gate.step();
    let mut stream = ada.open("tools/call", at_gate("test_gate", "a", 2)).await;
    let first = stream.next_message().await;
    gate.reached(2).await;
    fleet.kill(0).await;
    gate.stopped(1).await;

    let last = first.id.unwrap();
    let answer = ada.at(fleet.web(1)).resume(&last).await.rest().await;
    assert_eq!(told(&answer), ["error -32603"]);
    let message = answer.iter().find_map(|it| it.message.as_ref()).unwrap();
    assert!(message["error"]["message"].as_str().unwrap().contains("may or may not"));
    let again = ada.at(fleet.web(2)).resume(&last).await.rest().await;
    assert_eq!(told(&again), ["error -32603"], "once, and for good");
}

#[tokio::test]
async fn an_instance_that_was_only_slow_adds_nothing() {
    let mut fleet = Fleet::fixtures().await;
    let ada = fleet.web(0).legacy(fleet.token("ada").await, REVISION).await;
    let gate = fleet.gate("a");
    gate.step();
    let mut stream = ada.open("tools/call", at_gate("test_gate_repeatable", "a", 3)).await;
    let first = stream.next_message().await;
    gate.reached(2).await;
    fleet.instance(0).stop().await;

    // One turn for the first run, which is stopped, and three for the second. A first run that still
    // ran would take a second turn, and the other run would wait for its third one forever.
    for _ in 0..4 {
        gate.step();
    }
    let last = first.id.unwrap();
    let heard = ada.at(fleet.web(1)).resume(&last).await.rest().await;
    assert_eq!(told(&heard), ["2", "3", "passed 3 times"]);
    fleet.instance(0).signal(Signal::CONT);
    // It continues in the middle of its run, writes its events, and serves as before.
    assert_eq!(ada.call("ping", Value::Null).await.result(), &json!({}));
    let again = ada.resume(&last).await.rest().await;
    assert_eq!(told(&again), ["2", "3", "passed 3 times"]);
}

#[tokio::test]
async fn a_lost_call_is_run_again_only_under_rights_that_allow_it() {
    let mut fleet = Fleet::fixtures().await;
    let ada = fleet.web(0).legacy(fleet.token("ada").await, REVISION).await;
    let gate = fleet.gate("a");
    gate.step();
    let mut stream = ada.open("tools/call", at_gate("test_gate_repeatable", "a", 2)).await;
    let first = stream.next_message().await;
    fleet.kill(0).await;
    let bob = ada.presented_with(fleet.token("bob").await).at(fleet.web(1));
    let refused = bob.get(first.id.as_deref()).await;
    assert_eq!(refused.status(), 404, "somebody else's session");
    for _ in 0..3 {
        gate.step();
    }
    let rest = ada.at(fleet.web(1)).resume(first.id.as_deref().unwrap()).await.rest().await;
    assert_eq!(told(&rest), ["2", "passed 2 times"]);
}

#[tokio::test]
async fn two_instances_that_die_at_once_are_missed_by_nobody() {
    let mut fleet = Fleet::fixtures().await;
    let ada = fleet.web(0).legacy(fleet.token("ada").await, REVISION).await;
    let gate = fleet.gate("a");
    gate.step();
    // One runs a call, the other waits for an answer and holds the standalone stream.
    let mut running = ada.open("tools/call", at_gate("test_gate_repeatable", "a", 2)).await;
    let step = running.next_message().await;
    gate.reached(2).await;
    let other = ada.at(fleet.web(1));
    let ask = json!({ "name": "test_elicitation", "arguments": { "message": "Who are you?" } });
    let mut asking = other.open("tools/call", ask).await;
    let asked = asking.next_message().await;
    let priming = other.listen().await.next().await.unwrap();
    for index in [0, 1] {
        fleet.instance(index).signal(Signal::KILL);
    }
    for index in [0, 1] {
        fleet.instance(index).ended().await;
    }
    gate.stopped(1).await;

    let ada = ada.at(fleet.web(2));
    let mut listening = ada.resume(priming.id.as_deref().unwrap()).await;
    ada.tool("test_trigger_tool_change", json!({})).await;
    while listening.next_message().await.message.unwrap()["method"]
        != "notifications/tools/list_changed"
    {}
    let content = json!({ "username": "Ada", "email": "ada@example.com" });
    let answer = json!({ "action": "accept", "content": content });
    assert_eq!(ada.respond(&asked.message.unwrap(), answer).await, 202);
    let answered = ada.resume(asked.id.as_deref().unwrap()).await.rest().await;
    assert!(told(&answered)[0].contains("\"Ada\""), "{answered:#?}");
    for _ in 0..3 {
        gate.step();
    }
    let rest = ada.resume(step.id.as_deref().unwrap()).await.rest().await;
    assert_eq!(told(&rest), ["2", "passed 2 times"]);
}
