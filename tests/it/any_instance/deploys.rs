//! After a deploy that changes the catalog, every client with an old list receives `list_changed`.

use serde_json::{Value, json};
use tests::{client::Stream, processes::Fleet};

use super::REVISION;

/// Waits for the next change of the list of tools.
async fn told_of_tools(stream: &mut Stream) {
    while stream.next_message().await.message.unwrap()["method"]
        != "notifications/tools/list_changed"
    {}
}

#[tokio::test]
async fn a_deploy_with_other_tools_is_told_to_those_who_listen() {
    let mut fleet = Fleet::fixtures().await;
    let token = fleet.token("ada").await;
    let ada = fleet.web(0).legacy(&token, REVISION).await;
    let mut listening = ada.at(fleet.web(1)).listen().await;
    let filter = json!({ "toolsListChanged": true });
    let (mut modern, _) = fleet.web(2).modern(&token).listen(filter).await;

    // The next version has fewer tools. It replaces one instance after the other.
    fleet.kill(0).await;
    fleet.instance(0).set("TEST_PRODUCT", "protocol");
    fleet.start_again(0).await;
    told_of_tools(&mut listening).await;
    modern.expect("notifications/tools/list_changed").await;
}

#[tokio::test]
async fn a_session_that_was_not_listening_is_told_when_it_listens_again() {
    let mut fleet = Fleet::fixtures().await;
    let ada = fleet.web(0).legacy(fleet.token("ada").await, REVISION).await;
    ada.call("tools/list", json!({})).await.result();
    for index in 0..fleet.len() {
        fleet.kill(index).await;
        fleet.instance(index).set("TEST_PRODUCT", "protocol");
        fleet.start_again(index).await;
    }
    let mut listening = ada.at(fleet.web(1)).listen().await;
    told_of_tools(&mut listening).await;
    drop(listening);

    // Only once: the next message is about something else.
    let mut listening = ada.at(fleet.web(2)).listen().await;
    let priming = listening.next().await.unwrap();
    assert_eq!(priming.message, None::<Value>);
    ada.at(fleet.web(0)).tool("test_trigger_prompt_change", json!({})).await;
    let next = listening.next_message().await.message.unwrap();
    assert_eq!(next["method"], "notifications/prompts/list_changed");
}
