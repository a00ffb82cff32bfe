//! Event streams of sessions: no event is lost, duplicated or sent to the wrong stream, whichever side
//! disconnects and at whichever instance the client resumes.

use std::collections::HashSet;

use serde_json::json;
use tests::{
    client::{Event, Legacy},
    cluster::Cluster,
    fixtures::at_gate,
    schema::Revision,
};

const REVISION: Revision = Revision::November2025;

/// Summarizes events: the progress values, or the response.
fn told(events: &[Event]) -> Vec<String> {
    let messages = events.iter().filter_map(|event| event.message.as_ref());
    messages
        .map(|message| match message["params"]["progress"].as_f64() {
            Some(progress) => {
                format!("{}: {progress}", message["params"]["progressToken"].as_str().unwrap())
            }
            None => message["result"]["content"][0]["text"].as_str().unwrap().to_owned(),
        })
        .collect()
}

async fn two_instances() -> (Cluster, Legacy) {
    let cluster = Cluster::on_sqlite(2).await;
    let ada = cluster.web(0).legacy(cluster.token("ada").await, REVISION).await;
    (cluster, ada)
}

#[tokio::test]
async fn a_client_that_comes_back_misses_nothing_and_hears_nothing_twice() {
    let (cluster, ada) = two_instances().await;
    let gate = cluster.gate("a");
    gate.step();
    let mut stream = ada.open("tools/call", at_gate("test_gate", "a", 5)).await;
    let mut events = vec![stream.next_message().await];
    drop(stream);
    // Two steps without a connection.
    gate.step();
    gate.step();
    gate.reached(4).await;

    let last = events.last().unwrap().id.clone().expect("an event has an id");
    let mut stream = ada.at(cluster.web(1)).resume(&last).await;
    events.push(stream.next_message().await);
    // And two with one.
    gate.step();
    gate.step();
    events.extend(stream.rest().await);

    assert_eq!(told(&events), ["a: 1", "a: 2", "a: 3", "a: 4", "a: 5", "passed 5 times"]);
}

#[tokio::test]
async fn the_end_can_be_heard_again_after_the_call_has_ended() {
    let (cluster, ada) = two_instances().await;
    let gate = cluster.gate("a");
    for _ in 0..3 {
        gate.step();
    }
    let events = ada.open("tools/call", at_gate("test_gate", "a", 3)).await.rest().await;
    let said: Vec<&Event> = events.iter().filter(|event| event.message.is_some()).collect();
    for (index, event) in said.iter().enumerate() {
        let id = event.id.as_deref().expect("an event has an id");
        let again = ada.at(cluster.web(index % 2)).resume(id).await.rest().await;
        assert_eq!(told(&again), told(&events)[index + 1..], "after {id}");
    }
}

#[tokio::test]
async fn event_ids_are_unique_in_a_session() {
    let (cluster, ada) = two_instances().await;
    let mut ids = HashSet::new();
    let mut priming = 0;
    for name in ["a", "b", "c"] {
        cluster.gate(name).step();
        cluster.gate(name).step();
        let elsewhere = ada.at(cluster.web(usize::from(name == "b")));
        for event in elsewhere.open("tools/call", at_gate("test_gate", name, 2)).await.rest().await
        {
            let id = event.id.expect("an event of a session has an id");
            assert!(ids.insert(id.clone()), "{id} comes twice");
            priming += usize::from(event.message.is_none());
        }
    }
    assert_eq!(priming, 3, "one at the beginning of each stream");
}

#[tokio::test]
async fn a_stream_never_tells_of_another_call() {
    let (cluster, ada) = two_instances().await;
    cluster.gate("a").step();
    cluster.gate("b").step();
    let mut a = ada.open("tools/call", at_gate("test_gate", "a", 2)).await;
    let mut b = ada.open("tools/call", at_gate("test_gate", "b", 2)).await;
    let last_a = a.next_message().await.id.unwrap();
    let last_b = b.next_message().await.id.unwrap();
    drop((a, b));
    cluster.gate("a").step();
    cluster.gate("b").step();
    let a = ada.at(cluster.web(1)).resume(&last_a).await.rest().await;
    let b = ada.at(cluster.web(1)).resume(&last_b).await.rest().await;
    assert_eq!(told(&a), ["a: 2", "passed 2 times"]);
    assert_eq!(told(&b), ["b: 2", "passed 2 times"]);
}

#[tokio::test]
async fn an_event_id_opens_nothing_in_another_session() {
    let (cluster, ada) = two_instances().await;
    let gate = cluster.gate("a");
    gate.step();
    let mut stream = ada.open("tools/call", at_gate("test_gate", "a", 2)).await;
    let last = stream.next_message().await.id.unwrap();
    drop(stream);
    gate.step();
    gate.step();

    let same_user = cluster.web(0).legacy(cluster.token("ada").await, REVISION).await;
    let other_user = cluster.web(0).legacy(cluster.token("bob").await, REVISION).await;
    for intruder in [same_user, other_user] {
        let mut stream = intruder.get(Some(&last)).await;
        assert!(stream.status().is_client_error(), "{}", stream.status());
        stream.next().await;
    }
    for nonsense in ["", "x", "get", "get.-1", "get.99999999999999999999", "...", "%00.1"] {
        let mut stream = ada.get(Some(nonsense)).await;
        assert!(
            stream.status().is_client_error() || nonsense.is_empty(),
            "`{nonsense}`: {}",
            stream.status()
        );
        if !nonsense.is_empty() {
            stream.next().await;
        }
    }
    let rest = ada.resume(&last).await.rest().await;
    assert_eq!(told(&rest), ["a: 2", "passed 2 times"]);
}

#[tokio::test]
async fn whoever_comes_back_takes_the_stream_over() {
    let (cluster, ada) = two_instances().await;
    let gate = cluster.gate("a");
    gate.step();
    let mut first = ada.open("tools/call", at_gate("test_gate", "a", 2)).await;
    let last = first.next_message().await.id.unwrap();

    let mut second = ada.at(cluster.web(1)).resume(&last).await;
    let left = first.rest().await;
    assert!(told(&left).is_empty(), "each message goes to one stream: {left:#?}");
    gate.step();
    assert_eq!(told(&second.rest().await), ["a: 2", "passed 2 times"]);
}

#[tokio::test]
async fn a_session_has_one_stream_for_what_belongs_to_no_call() {
    let (cluster, ada) = two_instances().await;
    let mut first = ada.listen().await;
    let mut second = ada.at(cluster.web(1)).listen().await;
    first.rest().await;

    let answer = ada.tool("test_trigger_tool_change", json!({})).await;
    assert!(answer.before.is_empty(), "not on the call's stream: {:#?}", answer.before);
    second.expect("notifications/tools/list_changed").await;
    ada.tool("test_trigger_prompt_change", json!({})).await;
    second.expect("notifications/prompts/list_changed").await;
}

#[tokio::test]
async fn a_stream_begins_with_an_id_to_come_back_to_since_2025_11_25_only() {
    let cluster = Cluster::on_sqlite(1).await;
    for revision in Revision::LEGACY {
        let ada = cluster.web(0).legacy(cluster.token("ada").await, revision).await;
        let gate = format!("gate of {revision}");
        cluster.gate(&gate).step();
        let call = ada.open("tools/call", at_gate("test_gate", &gate, 1)).await.rest().await;

        let mut listening = ada.listen().await;
        ada.tool("test_trigger_tool_change", json!({})).await;
        let mut get = vec![listening.next().await.unwrap()];
        if get[0].message.is_none() {
            get.push(listening.next().await.unwrap());
        }

        for events in [&call, &get] {
            let empty = events.iter().filter(|event| event.message.is_none()).count();
            if revision >= Revision::November2025 {
                assert!(events[0].id.is_some() && events[0].message.is_none(), "{events:#?}");
                assert_eq!(empty, 1, "{events:#?}");
            } else {
                assert_eq!(empty, 0, "older clients fail on an empty event: {events:#?}");
                assert!(events.iter().all(|event| event.retry.is_none()), "{events:#?}");
            }
            assert!(events.iter().all(|event| event.id.is_some()), "{events:#?}");
        }
    }
}

#[tokio::test]
async fn no_client_gets_an_event_without_data_where_it_fails_on_one() {
    let cluster = Cluster::on_sqlite(1).await;
    for (name, on_calls, on_standalone) in [
        ("claude-code", 1, 1),
        ("claude-ai", 0, 0),
        ("Anthropic/ClaudeAI", 0, 0),
        ("Visual Studio Code", 0, 1),
        ("Visual Studio Code - Insiders", 0, 1),
    ] {
        let ada = cluster.web(0).legacy_named(cluster.token("ada").await, REVISION, name).await;
        let gate = format!("gate of {name}");
        cluster.gate(&gate).step();
        let call = ada.open("tools/call", at_gate("test_gate", &gate, 1)).await.rest().await;
        let mut listening = ada.listen().await;
        ada.tool("test_trigger_tool_change", json!({})).await;
        let mut get = vec![listening.next().await.unwrap()];
        if get[0].message.is_none() {
            get.push(listening.next().await.unwrap());
        }
        for (events, expected) in [(&call, on_calls), (&get, on_standalone)] {
            let empty = events.iter().filter(|event| event.message.is_none()).count();
            assert_eq!(empty, expected, "{name}: {events:#?}");
            assert!(events.iter().all(|event| event.id.is_some()), "{name}: {events:#?}");
            assert!(events[0].retry.is_some(), "{name}: when to come back: {events:#?}");
        }
        let id = call.iter().find_map(|event| event.id.as_deref()).unwrap();
        assert!(!ada.resume(id).await.rest().await.is_empty(), "{name} can resume");
    }
}

/// As Visual Studio Code does: it resumes only the stream that it opened with GET.
#[tokio::test]
async fn a_client_that_resumes_only_its_get_stream_gets_what_it_missed_of_a_call() {
    let (cluster, _) = two_instances().await;
    let token = cluster.token("ada").await;
    let ada = cluster.web(0).legacy_named(token, REVISION, "Visual Studio Code").await;
    let mut listening = ada.at(cluster.web(1)).listen().await;
    let priming = listening.next().await.unwrap();
    assert_eq!(priming.message, None);

    // A stream that it has received completely is not sent again.
    cluster.gate("had").step();
    ada.open("tools/call", at_gate("test_gate", "had", 1)).await.rest().await;

    let gate = cluster.gate("missed");
    gate.step();
    let mut call = ada.open("tools/call", at_gate("test_gate", "missed", 2)).await;
    assert!(call.next_message().await.id.is_some());
    drop(call);
    let left = listening.rest().await;
    assert!(told(&left).is_empty(), "it closes, so that the client comes back: {left:#?}");
    gate.step();
    gate.step();

    let mut resumed = ada.resume(priming.id.as_deref().unwrap()).await;
    let answer = loop {
        let event = resumed.next_message().await;
        let message = event.message.unwrap();
        if message.get("id").is_some() {
            assert_eq!(event.id, None, "or it would resume another stream than this one");
            break message;
        }
    };
    assert_eq!(answer["result"]["content"][0]["text"], "passed 2 times", "{answer:#}");
}

#[tokio::test]
async fn a_server_may_hang_up_and_go_on() {
    let (cluster, ada) = two_instances().await;
    let mut stream = ada.open("tools/call", json!({ "name": "test_reconnection" })).await;
    let events = stream.rest().await;
    assert!(events.iter().all(|event| event.message.is_none()), "{events:#?}");
    assert!(events.iter().any(|event| event.retry.is_some()), "when to come back: {events:#?}");
    let last = events.iter().rev().find_map(|event| event.id.clone()).unwrap();
    let rest = ada.at(cluster.web(1)).resume(&last).await.rest().await;
    assert_eq!(told(&rest), ["Reconnected"]);
}

#[tokio::test]
async fn a_modern_stream_has_no_ids() {
    let cluster = Cluster::on_sqlite(1).await;
    let ada = cluster.web(0).modern(cluster.token("ada").await);
    cluster.gate("a").step();
    let events = ada.open("tools/call", at_gate("test_gate", "a", 1)).await.rest().await;
    assert_eq!(told(&events), ["a: 1", "passed 1 times"]);
    assert!(events.iter().all(|it| it.id.is_none() && it.retry.is_none() && it.message.is_some()));
}

#[tokio::test]
async fn an_answer_that_takes_long_becomes_a_stream() {
    let cluster = Cluster::on_sqlite(1).await;
    let token = cluster.token("ada").await;
    let quiet = |gate: &str| json!({ "name": "test_gate", "arguments": { "gate": gate } });
    let modern = cluster.web(0).modern(&token).open("tools/call", quiet("modern")).await;
    let legacy = cluster.web(0).legacy(&token, REVISION).await;
    let legacy = legacy.open("tools/call", quiet("legacy")).await;
    for (mut stream, gate) in [(modern, "modern"), (legacy, "legacy")] {
        assert!(stream.is_events(), "the head came before the answer");
        cluster.gate(gate).step();
        let message = stream.message().await;
        assert_eq!(message["result"]["content"][0]["text"], "passed 1 times");
        stream.rest().await;
    }
}
