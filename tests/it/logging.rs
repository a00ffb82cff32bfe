//! Progress and log messages go to whoever asked for them, on the call's own stream.

use serde_json::{Value, json};
use tests::{cluster::Cluster, schema::Revision};

#[tokio::test]
async fn progress_grows_and_names_the_token_that_was_given() {
    let cluster = Cluster::on_sqlite(1).await;
    let token = cluster.token("ada").await;
    let modern = cluster.web(0).modern(&token);
    let legacy = cluster.web(0).legacy(&token, Revision::June2025).await;
    for progress_token in [json!("a token"), json!(42)] {
        let params = json!({
            "name": "test_tool_with_progress",
            "_meta": { "progressToken": progress_token },
        });
        for answer in [
            modern.call("tools/call", params.clone()).await,
            legacy.call("tools/call", params.clone()).await,
        ] {
            let mut last = -1.0;
            assert!(!answer.before.is_empty());
            for message in &answer.before {
                assert_eq!(message["method"], "notifications/progress");
                assert_eq!(message["params"]["progressToken"], progress_token);
                let progress = message["params"]["progress"].as_f64().unwrap();
                assert!(progress > last, "{progress} after {last}");
                last = progress;
            }
        }
    }
}

#[tokio::test]
async fn who_did_not_ask_for_progress_gets_none() {
    let cluster = Cluster::on_sqlite(1).await;
    let token = cluster.token("ada").await;
    let modern = cluster.web(0).modern(&token);
    let legacy = cluster.web(0).legacy(&token, Revision::November2025).await;
    let quiet = modern.tool("test_tool_with_progress", json!({})).await;
    assert!(quiet.before.is_empty(), "{:#?}", quiet.before);
    let quiet = legacy.tool("test_tool_with_progress", json!({})).await;
    assert!(quiet.before.is_empty(), "{:#?}", quiet.before);
}

#[tokio::test]
async fn a_session_hears_of_what_is_at_least_as_severe_as_it_asked_for() {
    let cluster = Cluster::on_sqlite(2).await;
    let ada = cluster.web(0).legacy(cluster.token("ada").await, Revision::November2025).await;
    let set = async |level: &str| ada.call("logging/setLevel", json!({ "level": level })).await;
    let heard = async || {
        let elsewhere = ada.at(cluster.web(1));
        let answer = elsewhere.tool("test_tool_with_logging", json!({})).await;
        assert!(answer.before.iter().all(|it| it["method"] == "notifications/message"));
        answer.before.len()
    };
    set("debug").await.result();
    assert_eq!(heard().await, 3);
    set("warning").await.result();
    assert_eq!(heard().await, 0);
    let body = ada.body("logging/setLevel", json!({ "level": "shout" }));
    assert_eq!(ada.send_on_purpose(&body).await.json()["error"]["code"], -32602);
}

#[tokio::test]
async fn a_modern_request_hears_nothing_it_did_not_ask_for() {
    let cluster = Cluster::on_sqlite(1).await;
    let ada = cluster.web(0).modern(cluster.token("ada").await);
    let heard = async |level: Value| {
        let asking = ada.with_meta("io.modelcontextprotocol/logLevel", level);
        asking.tool("test_logging_tool", json!({})).await.before.len()
    };
    assert_eq!(heard(Value::Null).await, 0);
    assert_eq!(heard(json!("info")).await, 1);
    assert_eq!(heard(json!("error")).await, 0);
}
