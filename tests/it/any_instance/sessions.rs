//! A session is not bound to an instance.

use serde_json::{Value, json};
use tests::processes::Fleet;

use super::REVISION;

#[tokio::test]
async fn a_session_that_one_instance_made_is_served_and_ended_by_any() {
    let fleet = Fleet::fixtures().await;
    let ada = fleet.web(0).legacy(fleet.token("ada").await, REVISION).await;
    let on = |index| ada.at(fleet.web(index));

    on(1).tool("items_create", json!({ "title": "Tea", "body": "Two minutes." })).await.output();
    let listed = on(2).tool("items_list", json!({})).await;
    assert_eq!(listed.output()["items"][0]["title"], "Tea");
    let mut listening = on(2).listen().await;
    on(0).tool("test_trigger_tool_change", json!({})).await;
    let heard = listening.next_message().await;
    drop(listening);
    let mut resumed = on(1).resume(heard.id.as_deref().unwrap()).await;
    on(2).tool("test_trigger_prompt_change", json!({})).await;
    while resumed.next_message().await.message.unwrap()["method"]
        != "notifications/prompts/list_changed"
    {}

    assert_eq!(on(1).end().await, 204);
    for index in 0..fleet.len() {
        let ping = ada.body("ping", Value::Null);
        assert_eq!(on(index).send_on_purpose(&ping).await.status, 404, "instance {index}");
    }
    assert!(resumed.next().await.is_none_or(|it| it.message.is_none()), "its stream has ended");
}

#[tokio::test]
async fn a_session_outlives_the_instance_that_made_it() {
    let mut fleet = Fleet::fixtures().await;
    let ada = fleet.web(0).legacy(fleet.token("ada").await, REVISION).await;
    let subscribed = json!({ "uri": "test://watched-resource" });
    ada.call("resources/subscribe", subscribed).await.result();
    ada.call("logging/setLevel", json!({ "level": "error" })).await.result();
    fleet.kill(0).await;
    let elsewhere = ada.at(fleet.web(1));
    let quiet = elsewhere.tool("test_tool_with_logging", json!({})).await;
    assert!(quiet.before.is_empty(), "the level is known elsewhere: {:#?}", quiet.before);
    fleet.start_again(0).await;
    assert_eq!(ada.call("ping", Value::Null).await.result(), &json!({}));
}

#[tokio::test]
async fn a_session_is_found_by_its_own_user_only_wherever_it_is_shown() {
    let fleet = Fleet::fixtures().await;
    let ada = fleet.web(0).legacy(fleet.token("ada").await, REVISION).await;
    let bob = ada.presented_with(fleet.token("bob").await);
    for index in 0..fleet.len() {
        let ping = bob.body("ping", Value::Null);
        let page = bob.at(fleet.web(index)).send_on_purpose(&ping).await;
        assert_eq!(page.status, 404, "instance {index}");
        assert_eq!(bob.at(fleet.web(index)).end().await, 404, "instance {index}");
    }
    assert_eq!(ada.at(fleet.web(2)).call("ping", Value::Null).await.result(), &json!({}));
}
