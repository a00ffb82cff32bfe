//! Redis that is killed and restarted, with and without its data.

use std::time::Duration;

use serde_json::json;
use tests::{
    client::Legacy,
    eventually,
    fixtures::at_gate,
    processes::{Kind, Persistence, Plan},
};

use crate::{REVISION, ended, item, lasts, shown};

/// Shorter than the time for which an instance keeps an event that it cannot write to the log (6 s).
const OUTAGE: Duration = Duration::from_secs(2);

/// Waits until a session answers with this status.
async fn answers(session: &Legacy, status: u16) {
    eventually(&format!("the session answers {status}"), async || {
        (shown::ping(session).await.status == status).then_some(())
    })
    .await;
}

/// The text of the last message of a stream.
fn last_text(events: &[tests::client::Event]) -> String {
    let last = events.iter().filter_map(|it| it.message.as_ref()).next_back();
    let text = last.and_then(|it| it["result"]["content"][0]["text"].as_str());
    text.unwrap_or_else(|| panic!("no result: {events:#?}")).to_owned()
}

#[tokio::test]
async fn redis_restarted_with_its_data_costs_no_session_question_or_event() {
    let plan = Plan::new(Kind::Fixtures).instances(2).workers(1).persistence(Persistence::Always);
    let mut fleet = plan.start().await;
    let token = fleet.token("ada").await;
    let ada = fleet.web(0).legacy(&token, REVISION).await;
    let modern = fleet.web(1).modern(&token);
    let gate = fleet.gate("a");
    let caller = ada.clone();
    let call =
        tokio::spawn(
            async move { caller.persist("tools/call", at_gate("test_gate", "a", 3)).await },
        );
    gate.reached(1).await;
    gate.step();
    gate.reached(2).await;
    let ask = json!({ "name": "test_elicitation", "arguments": { "message": "Who are you?" } });
    let mut asking = ada.open("tools/call", ask).await;
    let asked = asking.next_message().await;

    fleet.redis().kill().await;
    gate.step();
    let during = [shown::ping(&ada).await, shown::initialize(fleet.web(1), &token).await];
    for shown in during {
        assert!(shown.is_told_to_wait(), "{shown:?}");
    }
    let written = shown::modern(&modern, "items_create", item("Tea")).await;
    assert!(written.is_success(), "{written:?}");
    lasts(OUTAGE).await;
    fleet.redis().start_again().await;

    answers(&ada.at(fleet.web(0)), 200).await;
    answers(&ada.at(fleet.web(1)), 200).await;
    let content = json!({ "username": "Ada", "email": "ada@example.com" });
    let answer = json!({ "action": "accept", "content": content });
    assert_eq!(ada.at(fleet.web(1)).respond(&asked.message.unwrap(), answer).await, 202);
    let answered = ada.resume(asked.id.as_deref().unwrap()).await.rest().await;
    assert!(last_text(&answered).contains("\"Ada\""), "{answered:#?}");
    gate.step();
    let events = call.await.unwrap();
    let progress: Vec<_> = events
        .iter()
        .filter_map(|it| it.message.as_ref()?["params"]["progress"].as_f64())
        .collect();
    assert_eq!(progress, [1.0, 2.0, 3.0], "{events:#?}");
    assert_eq!(last_text(&events), "passed 3 times");
}

#[tokio::test]
async fn redis_restarted_without_its_data_ends_sessions_and_nothing_else() {
    let plan = Plan::new(Kind::Fixtures).instances(2).workers(1);
    let mut fleet = plan.start().await;
    let token = fleet.token("ada").await;
    let ada = fleet.web(0).legacy(&token, REVISION).await;
    let modern = fleet.web(1).modern(&token);
    let arguments = json!({ "message": "Who are you?" });
    let ask = json!({ "name": "test_elicitation", "arguments": arguments });
    let mut asking = ada.open("tools/call", ask).await;
    let asked = asking.next_message().await;
    let question = modern.tool("test_elicitation", arguments.clone()).await.result().clone();
    let counting = modern.with_tasks();
    let counting = counting.tool("test_count_job", json!({ "steps": 60, "pause_ms": 50 })).await;
    let counting = counting.result()["taskId"].clone();

    fleet.redis().kill().await;
    lasts(OUTAGE).await;
    fleet.redis().start_again().await;
    for index in 0..2 {
        answers(&ada.at(fleet.web(index)), 404).await;
    }
    let answer =
        json!({ "action": "accept", "content": { "username": "Ada", "email": "a@b.example" } });
    assert_eq!(ada.respond(&asked.message.unwrap(), answer.clone()).await, 404);
    assert_eq!(ada.get(asked.id.as_deref()).await.status(), 404);

    // A modern client has its state itself, and a job is in the database.
    let key = question["inputRequests"].as_object().unwrap().keys().next().unwrap().clone();
    let again = json!({
        "name": "test_elicitation",
        "arguments": arguments,
        "requestState": question["requestState"],
        "inputResponses": { key: answer },
    });
    let answered = modern.at(fleet.web(0)).call("tools/call", again).await;
    assert!(answered.result()["content"][0]["text"].as_str().unwrap().contains("\"Ada\""));
    let counted = ended(&modern.with_tasks(), &counting).await;
    assert_eq!(counted["result"]["content"][0]["text"], "counted to 60", "{counted}");
    let ada = fleet.web(1).legacy(&token, REVISION).await;
    let job = ada.at(fleet.web(0)).tool("jobs_get", json!({ "id": counting })).await;
    assert_eq!(job.output()["job"]["status"], "completed");
    let mut listening = ada.at(fleet.web(0)).listen().await;
    ada.tool("test_trigger_tool_change", json!({})).await;
    listening.until("notifications/tools/list_changed").await;
}
