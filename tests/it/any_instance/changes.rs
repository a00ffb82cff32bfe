//! Subscribers receive a change, whichever instances the subscriber and the change are at.

use serde_json::json;
use tests::processes::Fleet;

use super::REVISION;

#[tokio::test]
async fn a_change_is_heard_on_every_instance_and_after_its_listener_was_killed() {
    let mut fleet = Fleet::fixtures().await;
    let token = fleet.token("ada").await;
    let ada = fleet.web(0).legacy(&token, REVISION).await;
    let draft = json!({ "title": "Tea", "body": "Two minutes." });
    let item = ada.tool("items_create", draft).await.output()["id"].as_str().unwrap().to_owned();
    let uri = format!("items://by-id/{item}");
    ada.call("resources/subscribe", json!({ "uri": uri })).await.result();
    let mut listening = ada.at(fleet.web(1)).listen().await;
    let filter = json!({ "resourceSubscriptions": [uri] });
    let (mut modern, _) = fleet.web(2).modern(&token).listen(filter).await;

    let change = |body: &str| json!({ "id": item, "body": body });
    ada.tool("items_update", change("Three minutes.")).await.output();
    let heard = loop {
        let event = listening.next_message().await;
        if event.message.as_ref().unwrap()["method"] == "notifications/resources/updated" {
            break event;
        }
    };
    assert_eq!(heard.message.unwrap()["params"]["uri"], uri);
    let updated = modern.expect("notifications/resources/updated").await;
    assert_eq!(updated["params"]["uri"], uri);

    // No listener is connected during this change.
    fleet.kill(1).await;
    ada.tool("items_update", change("Four minutes.")).await.output();
    let mut resumed = ada.at(fleet.web(2)).resume(heard.id.as_deref().unwrap()).await;
    loop {
        let message = resumed.next_message().await.message.unwrap();
        if message["method"] == "notifications/resources/updated" {
            assert_eq!(message["params"]["uri"], uri);
            break;
        }
    }
}
