//! Questions to the client (elicitation, sampling, roots): asked once, answered at any instance, and bound to
//! the user who was asked.
#![expect(clippy::needless_pass_by_value, reason = "`json!` reads better without a borrow")]

use std::time::Duration;

use serde_json::{Value, json};
use tests::{
    client::{Answer, Modern},
    cluster::Cluster,
    schema::Revision,
};

const REVISION: Revision = Revision::November2025;

fn call(tool: &str, arguments: Value) -> Value {
    json!({ "name": tool, "arguments": arguments })
}

fn accept(content: Value) -> Value {
    json!({ "action": "accept", "content": content })
}

fn sampled(text: &str) -> Value {
    json!({ "role": "assistant", "model": "m", "content": { "type": "text", "text": text } })
}

// ------------------------------------------------------------------------------ with a session

#[tokio::test]
async fn an_answer_may_arrive_at_another_instance_than_the_one_that_asked() {
    let cluster = Cluster::on_sqlite(3).await;
    for revision in [Revision::June2025, Revision::November2025] {
        let ada = cluster.web(0).legacy(cluster.token("ada").await, revision).await;
        let params = call("test_elicitation", json!({ "message": "Who are you?" }));
        let mut stream = ada.open("tools/call", params).await;
        let question = stream.expect("elicitation/create").await;
        assert_eq!(question["params"]["message"], "Who are you?");
        let form = json!({ "username": "ada", "email": "ada@example.com" });
        assert_eq!(ada.at(cluster.web(2)).respond(&question, accept(form)).await, 202);
        let answer = stream.message().await;
        let text = answer["result"]["content"][0]["text"].as_str().unwrap();
        assert!(text.contains("accept") && text.contains("ada@example.com"), "{text}");
        stream.rest().await;
    }
}

#[tokio::test]
async fn several_questions_are_answered_in_any_order_at_any_instance() {
    let cluster = Cluster::on_sqlite(3).await;
    let ada = cluster.web(0).legacy(cluster.token("ada").await, REVISION).await;
    let params = call("test_input_required_result_multiple_inputs", json!({}));
    let mut stream = ada.open("tools/call", params).await;
    let mut questions = Vec::new();
    for _ in 0..3 {
        questions.push(stream.message().await);
    }
    questions.sort_by_key(|question| question["method"].as_str().map(str::to_owned));
    for (instance, question) in questions.iter().enumerate() {
        let answer = match question["method"].as_str().unwrap() {
            "elicitation/create" => accept(json!({ "name": "Ada" })),
            "sampling/createMessage" => sampled("Good morning."),
            "roots/list" => json!({ "roots": [{ "uri": "file:///home/ada" }] }),
            other => panic!("{other} was not expected"),
        };
        assert_eq!(ada.at(cluster.web(instance)).respond(question, answer).await, 202);
    }
    let answer = stream.message().await;
    let text = answer["result"]["content"][0]["text"].as_str().unwrap();
    assert_eq!(text, "Hello, Ada! Good morning. file:///home/ada");
}

#[tokio::test]
async fn the_ids_of_questions_cannot_be_guessed_and_never_repeat() {
    let cluster = Cluster::on_sqlite(2).await;
    let ada = cluster.web(0).legacy(cluster.token("ada").await, REVISION).await;
    let mut ids = std::collections::HashSet::new();
    for instance in [0, 1, 0, 1] {
        let ada = ada.at(cluster.web(instance));
        let params = call("test_elicitation", json!({ "message": "Who are you?" }));
        let mut stream = ada.open("tools/call", params).await;
        let question = stream.expect("elicitation/create").await;
        let id = question["id"].as_str().expect("an id of ours is a text").to_owned();
        assert!(id.len() >= 22, "128 bits of chance need more than `{id}`");
        assert!(ids.insert(id));
    }
}

#[tokio::test]
async fn an_answer_counts_once_and_only_in_the_session_that_was_asked() {
    let cluster = Cluster::on_sqlite(2).await;
    let ada = cluster.web(0).legacy(cluster.token("ada").await, REVISION).await;
    let others = [
        cluster.web(0).legacy(cluster.token("ada").await, REVISION).await,
        cluster.web(0).legacy(cluster.token("bob").await, REVISION).await,
    ];
    let params = call("test_sampling", json!({ "prompt": "Hello" }));
    let mut stream = ada.open("tools/call", params).await;
    let question = stream.expect("sampling/createMessage").await;
    for other in others {
        let body = json!({
            "jsonrpc": "2.0", "id": question["id"], "result": sampled("from somebody else"),
        });
        let ignored = other.send_on_purpose(&body).await;
        assert_eq!(ignored.status, 202, "it knows of no such question: {}", ignored.text());
    }
    assert_eq!(ada.respond(&question, sampled("mine")).await, 202);
    let answer = stream.message().await;
    assert_eq!(answer["result"]["content"][0]["text"], "LLM response: mine");
    assert_eq!(ada.respond(&question, sampled("too late")).await, 202);
}

#[tokio::test]
async fn two_answers_at_once_let_the_call_go_on_once() {
    let cluster = Cluster::on_sqlite(2).await;
    let ada = cluster.web(0).legacy(cluster.token("ada").await, REVISION).await;
    for _ in 0..10 {
        let params = call("test_sampling", json!({ "prompt": "Hello" }));
        let mut stream = ada.open("tools/call", params).await;
        let question = stream.expect("sampling/createMessage").await;
        let there = ada.at(cluster.web(1));
        let (here, there) = tokio::join!(
            ada.respond(&question, sampled("here")),
            there.respond(&question, sampled("there")),
        );
        assert_eq!((here.as_u16(), there.as_u16()), (202, 202));
        let rest = stream.rest().await;
        let answers = rest.iter().filter(|event| event.message.is_some()).count();
        assert_eq!(answers, 1, "{rest:#?}");
    }
}

#[tokio::test]
async fn a_user_may_decline_and_a_client_may_fail() {
    let cluster = Cluster::on_sqlite(1).await;
    let ada = cluster.web(0).legacy(cluster.token("ada").await, REVISION).await;
    for action in ["decline", "cancel"] {
        let params = call("test_elicitation", json!({ "message": "Who are you?" }));
        let mut stream = ada.open("tools/call", params).await;
        let question = stream.expect("elicitation/create").await;
        assert_eq!(ada.respond(&question, json!({ "action": action })).await, 202);
        let answer = stream.message().await;
        let text = answer["result"]["content"][0]["text"].as_str().unwrap();
        assert!(text.contains(action), "{text}");
    }
    let mut stream = ada.open("tools/call", call("test_sampling", json!({ "prompt": "x" }))).await;
    let question = stream.expect("sampling/createMessage").await;
    assert_eq!(ada.refuse(&question, -1, "User rejected sampling request").await, 202);
    let answer = stream.message().await;
    assert_eq!(answer["result"]["isError"], true);
    let text = answer["result"]["content"][0]["text"].as_str().unwrap();
    assert!(text.contains("User rejected"), "{text}");
}

#[tokio::test]
async fn a_session_is_only_asked_what_its_client_can_answer() {
    let cluster = Cluster::on_sqlite(1).await;
    let token = cluster.token("ada").await;
    for (revision, capabilities) in
        [(REVISION, json!({})), (Revision::March2025, json!({ "elicitation": {} }))]
    {
        let ada = cluster.web(0).legacy_with(&token, revision, capabilities).await;
        let answer = ada.tool("test_elicitation", json!({ "message": "Who are you?" })).await;
        assert!(answer.before.is_empty(), "{:#?}", answer.before);
        assert!(answer.tool_error().contains("elicitation"), "{}", answer.tool_error());
    }
}

#[tokio::test]
async fn a_question_survives_a_disconnect() {
    let cluster = Cluster::on_sqlite(2).await;
    let ada = cluster.web(0).legacy(cluster.token("ada").await, REVISION).await;
    let params = call("test_sampling", json!({ "prompt": "Hello" }));
    let mut stream = ada.open("tools/call", params).await;
    let event = loop {
        let event = stream.next().await.unwrap();
        if event.message.is_some() {
            break event;
        }
    };
    drop(stream);
    let elsewhere = ada.at(cluster.web(1));
    let question = event.message.unwrap();
    assert_eq!(elsewhere.respond(&question, sampled("still here")).await, 202);
    let mut rest = elsewhere.resume(&event.id.unwrap()).await;
    let answer = rest.message().await;
    assert_eq!(answer["result"]["content"][0]["text"], "LLM response: still here");
}

// --------------------------------------------------------------------------- without a session

const CONFIRM: &str = "test_input_required_result_tampered_state";

/// The `requestState` of a first round.
async fn state_of(client: &Modern, tool: &str) -> String {
    let asked = client.tool(tool, json!({})).await;
    assert_eq!(asked.result()["resultType"], "input_required");
    asked.result()["requestState"].as_str().expect("there is a state").to_owned()
}

async fn retry(client: &Modern, tool: &str, state: &str, responses: Value) -> Answer {
    let params = json!({
        "name": tool, "arguments": {}, "requestState": state, "inputResponses": responses,
    });
    client.call("tools/call", params).await
}

#[tokio::test]
async fn every_round_may_go_to_another_instance() {
    let cluster = Cluster::on_sqlite(3).await;
    let ada = cluster.web(0).modern(cluster.token("ada").await);
    let tool = "test_input_required_result_multi_round";
    let first = state_of(&ada, tool).await;

    let there = ada.at(cluster.web(1));
    let name = json!({ "step1": accept(json!({ "name": "Ada" })) });
    let second = retry(&there, tool, &first, name).await;
    assert_eq!(second.result()["resultType"], "input_required");
    let state = second.result()["requestState"].as_str().unwrap();
    assert_ne!(state, first);

    let there = ada.at(cluster.web(2));
    let color = json!({ "step2": accept(json!({ "color": "red" })) });
    let done = retry(&there, tool, state, color).await;
    assert_eq!(done.text(), "Ada likes red");
}

#[tokio::test]
async fn answers_that_no_later_round_could_carry_are_rejected() {
    let cluster = Cluster::on_sqlite(1).await;
    let ada = cluster.web(0).modern(cluster.token("ada").await);
    let tool = "test_input_required_result_multi_round";
    let state = state_of(&ada, tool).await;
    let answer = |bytes: usize| accept(json!({ "name": "x".repeat(bytes) }));
    let refused = retry(&ada, tool, &state, json!({ "step1": answer(256 * 1024) })).await;
    assert_eq!(refused.code(), -32602);
    assert!(refused.message["error"]["message"].as_str().unwrap().contains("maximum is 262144"));
    let many =
        json!({ "step1": answer(250_000), "more": answer(250_000), "most": answer(250_000) });
    let refused = retry(&ada, tool, &state, many).await;
    assert!(refused.message["error"]["message"].as_str().unwrap().contains("maximum is 655360"));

    let long = answer(250_000);
    let second = retry(&ada, tool, &state, json!({ "step1": long })).await;
    let state = second.result()["requestState"].as_str().unwrap();
    let color = json!({ "step2": accept(json!({ "color": "red" })) });
    assert!(retry(&ada, tool, state, color).await.text().ends_with("likes red"));
}

#[tokio::test]
async fn a_state_that_was_changed_is_refused() {
    let cluster = Cluster::on_sqlite(1).await;
    let ada = cluster.web(0).modern(cluster.token("ada").await);
    let state = state_of(&ada, CONFIRM).await;
    let responses = json!({ "confirm": accept(json!({ "ok": true })) });

    let mut flipped: Vec<char> = state.chars().collect();
    let middle = flipped.len() / 2;
    flipped[middle] = if flipped[middle] == 'A' { 'B' } else { 'A' };
    let flipped: String = flipped.into_iter().collect();
    for wrong in [flipped.as_str(), "", "x", &state[1..], &format!("{state}-TAMPERED")] {
        let refused = retry(&ada, CONFIRM, wrong, responses.clone()).await;
        assert_eq!(refused.code(), -32602, "{wrong}");
    }
    let served = retry(&ada, CONFIRM, &state, responses).await;
    assert_eq!(served.text(), "confirmed: true");
}

#[tokio::test]
async fn a_state_belongs_to_its_user_its_call_and_its_time() {
    let cluster = Cluster::on_sqlite(2).await;
    let ada = cluster.web(0).modern(cluster.token("ada").await);
    let bob = cluster.web(0).modern(cluster.token("bob").await);
    let state = state_of(&ada, CONFIRM).await;
    let responses = json!({ "confirm": accept(json!({ "ok": true })) });

    let stolen = retry(&bob, CONFIRM, &state, responses.clone()).await;
    assert_eq!(stolen.code(), -32602, "somebody else's");
    let other_tool = "test_input_required_result_request_state";
    let reused = retry(&ada, other_tool, &state, responses.clone()).await;
    assert_eq!(reused.code(), -32602, "another call's");

    let elicited =
        ada.call("tools/call", call("test_elicitation", json!({ "message": "a" }))).await;
    let state = elicited.result()["requestState"].as_str().unwrap();
    let other_arguments = json!({
        "name": "test_elicitation", "arguments": { "message": "b" }, "requestState": state,
        "inputResponses": { "user": accept(json!({ "username": "a", "email": "a@example.com" })) },
    });
    assert_eq!(ada.call("tools/call", other_arguments).await.code(), -32602);

    let state = state_of(&ada, CONFIRM).await;
    cluster.clock().advance(Duration::from_mins(11));
    let late = retry(&ada, CONFIRM, &state, responses).await;
    assert_eq!(late.code(), -32602, "too late");
}

#[tokio::test]
async fn a_modern_client_is_told_which_capability_is_missing() {
    let cluster = Cluster::on_sqlite(1).await;
    let ada = cluster.web(0).modern(cluster.token("ada").await).with_capabilities(json!({}));
    let refused = ada.tool("test_missing_capability", json!({})).await;
    assert_eq!((refused.status.as_u16(), refused.code()), (400, -32021));
    let needed = &refused.message["error"]["data"]["requiredCapabilities"];
    assert_eq!(needed, &json!({ "sampling": {} }));
}

#[tokio::test]
async fn a_modern_stream_carries_no_question() {
    let cluster = Cluster::on_sqlite(1).await;
    let ada = cluster.web(0).modern(cluster.token("ada").await);
    let params = json!({
        "name": "test_streaming_elicitation", "_meta": { "progressToken": "p" },
    });
    let answer = ada.call("tools/call", params).await;
    assert!(answer.before.iter().all(|it| it["method"] == "notifications/progress"));
    assert_eq!(answer.result()["resultType"], "input_required");
    let asked = &answer.result()["inputRequests"]["user_name"];
    assert_eq!(asked["method"], "elicitation/create");
}
