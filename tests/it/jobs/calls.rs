//! Clients without tasks: the call's own answer stays open.

use std::time::Duration;

use serde_json::{Value, json};
use tests::{fixtures::at_gate, schema::Revision};

use super::{accept, cluster, until};

/// The progress of messages, in order.
fn progress(message: &Value) -> Option<f64> {
    (message["method"] == "notifications/progress")
        .then(|| message["params"]["progress"].as_f64())?
}

#[tokio::test]
async fn a_modern_call_stays_open_with_progress_until_the_result() {
    let cluster = cluster(1, 1).await;
    let ada = cluster.web(0).modern(cluster.token("ada").await);
    let gate = cluster.gate("a");
    let mut stream = ada.open("tools/call", at_gate("test_job_gate", "a", 3)).await;
    let first = stream.expect("notifications/progress").await;
    assert_eq!(progress(&first), Some(0.0));
    assert!(first["params"]["message"].as_str().unwrap().contains("job"), "{first}");
    for step in [1.0, 2.0, 3.0] {
        gate.step();
        let heard = stream.expect("notifications/progress").await;
        assert_eq!(progress(&heard), Some(step));
    }
    let answer = stream.message().await;
    assert_eq!(answer["result"]["resultType"], "complete");
    assert_eq!(answer["result"]["content"][0]["text"], "passed 3 times, 0 of them before");
}

#[tokio::test]
async fn a_job_outlives_the_token_that_waits_for_it() {
    let cluster = cluster(1, 1).await;
    let brief = cluster.brief_token("ada", Duration::from_secs(3)).await;
    let gate = cluster.gate("brief");
    let mut stream =
        cluster.web(0).modern(brief).open("tools/call", at_gate("test_job_gate", "brief", 1)).await;
    stream.expect("notifications/progress").await;
    gate.reached(1).await;
    let left = stream.message().await;
    let said = left["result"]["content"][0]["text"].as_str().unwrap();
    assert!(said.contains("is about to expire"), "{said}");
    assert_eq!(left["result"]["isError"], true);
    drop(stream);

    gate.step();
    let ada = cluster.web(0).modern(cluster.token("ada").await);
    let job = said.split_once("job ").unwrap().1.split_once(':').unwrap().0;
    let ended = until(&ada.with_tasks(), &json!(job), "completed").await;
    assert_eq!(ended["result"]["content"][0]["text"], "passed 1 times, 0 of them before");
}

#[tokio::test]
async fn a_modern_call_without_tasks_goes_on_with_its_job_after_a_question() {
    let cluster = cluster(2, 1).await;
    let ada = cluster.web(0).modern(cluster.token("ada").await);
    let arguments = json!({ "filename": "f" });
    let asked = ada.tool("confirm_delete", arguments.clone()).await;
    assert_eq!(asked.result()["resultType"], "input_required");
    assert_eq!(asked.result()["inputRequests"]["confirm"]["method"], "elicitation/create");
    let state = &asked.result()["requestState"];
    let again = json!({
        "name": "confirm_delete", "arguments": arguments, "requestState": state,
        "inputResponses": { "confirm": accept(&json!({ "confirm": true })) },
    });
    let stranger = cluster.web(1).modern(cluster.token("bob").await);
    assert_eq!(stranger.call("tools/call", again.clone()).await.code(), -32602);
    let answer = ada.at(cluster.web(1)).call("tools/call", again).await;
    assert_eq!(answer.text(), "Deleted f");
}

#[tokio::test]
async fn a_session_follows_its_job_from_one_instance_to_another() {
    let mut cluster = cluster(3, 1).await;
    for revision in Revision::LEGACY {
        let ada = cluster.web(0).legacy(cluster.token("ada").await, revision).await;
        let name = format!("gate of {revision}");
        let gate = cluster.gate(&name);
        let mut stream = ada.open("tools/call", at_gate("test_job_gate", &name, 3)).await;
        let mut seen = String::new();
        gate.step();
        let mut heard = Vec::new();
        while heard.last() != Some(&1.0) {
            let event = stream.next().await.expect("the job goes on");
            seen = event.id.clone().unwrap_or(seen);
            heard.extend(event.message.as_ref().and_then(progress));
        }
        assert_eq!(heard, [0.0, 1.0]);
        drop(stream);

        // The worker goes, too: another one takes its place.
        gate.reached(2).await;
        cluster.end_workers().await;
        cluster.start_worker().await;
        gate.step();
        gate.step();
        gate.step();
        let mut rest = ada.at(cluster.web(2)).resume(&seen).await;
        assert_eq!(progress(&rest.message().await), Some(2.0));
        assert_eq!(progress(&rest.message().await), Some(3.0));
        let answer = rest.message().await;
        assert_eq!(answer["result"]["content"][0]["text"], "passed 3 times, 1 of them before");
        let end = rest.rest().await;
        assert!(end.iter().all(|event| event.message.is_none()), "one answer: {end:#?}");
    }
}

#[tokio::test]
async fn a_session_is_asked_on_the_stream_of_its_call_and_answers_anywhere() {
    let mut cluster = cluster(3, 1).await;
    let revision = Revision::June2025;
    let ada = cluster.web(0).legacy(cluster.token("ada").await, revision).await;
    let other = cluster.web(0).legacy(cluster.token("ada").await, revision).await;
    let other = ada.with_session(other.session());
    let call = json!({ "name": "confirm_delete", "arguments": { "filename": "f" } });
    let mut stream = ada.open("tools/call", call).await;
    stream.expect("notifications/message").await;
    let question = stream.expect("elicitation/create").await;
    cluster.end_workers().await;
    // Another session of the same user was not asked.
    let decline = json!({ "action": "decline" });
    assert_eq!(other.respond(&question, decline.clone()).await, 202);
    let agree = accept(&json!({ "confirm": true }));
    assert_eq!(ada.at(cluster.web(2)).respond(&question, agree).await, 202);
    assert_eq!(ada.at(cluster.web(1)).respond(&question, decline).await, 202);
    cluster.start_worker().await;
    let answer = stream.message().await;
    assert_eq!(answer["result"]["content"][0]["text"], "Deleted f");
}

#[tokio::test]
async fn arguments_that_do_not_fit_are_refused_before_there_is_a_job() {
    let cluster = cluster(1, 0).await;
    let ada = cluster.web(0).modern(cluster.token("ada").await);
    let refused = ada.tool("slow_compute", json!({ "second": 1 })).await;
    assert!(refused.tool_error().contains("second"), "{}", refused.tool_error());
}
