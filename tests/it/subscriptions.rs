//! Subscribers of a resource are notified of its changes, at whichever instance they were made; no other
//! session is.

use serde_json::{Value, json};
use tests::{
    client::{Modern, Stream},
    cluster::{Cluster, Database, Setup},
    schema::Revision,
};

on_both_databases!(
    a_change_at_one_instance_is_heard_at_another,
    a_session_hears_of_what_it_follows,
);

async fn create(client: &Modern, title: &str) -> String {
    let created = client.tool("items_create", json!({ "title": title, "body": "" })).await;
    created.output()["id"].as_str().unwrap().to_owned()
}

fn uri(id: &str) -> String {
    format!("items://by-id/{id}")
}

/// The URIs of updates, up to the first message of another kind.
async fn updates_until(stream: &mut Stream, method: &str) -> Vec<String> {
    let mut updates = Vec::new();
    loop {
        let message = stream.message().await;
        if message["method"] == method {
            return updates;
        }
        assert_eq!(message["method"], "notifications/resources/updated", "{message:#}");
        updates.push(message["params"]["uri"].as_str().unwrap().to_owned());
    }
}

async fn a_change_at_one_instance_is_heard_at_another(database: Database) {
    let cluster = Setup::new(database).instances(2).start().await;
    let ada = cluster.web(0).modern(cluster.token("ada").await);
    let id = create(&ada, "Watched").await;
    let filter = json!({ "resourceSubscriptions": [uri(&id)], "resourcesListChanged": true });
    let (mut stream, honoured) = ada.at(cluster.web(1)).listen(filter.clone()).await;
    assert_eq!(honoured, filter);

    ada.tool("items_update", json!({ "id": id, "title": "Changed" })).await.output();
    let updated = stream.expect("notifications/resources/updated").await;
    assert_eq!(updated["params"]["uri"], uri(&id));
    assert!(
        updated.pointer("/params/_meta/io.modelcontextprotocol~1subscriptionId").is_some(),
        "every message says which subscription it is for: {updated:#}"
    );
    create(&ada, "Another").await;
    // The title is part of the list, so the change above may have said so, too.
    stream.expect("notifications/resources/list_changed").await;
}

#[tokio::test]
async fn a_listener_hears_only_what_it_asked_for() {
    let cluster = Cluster::on_sqlite(1).await;
    let ada = cluster.web(0).modern(cluster.token("ada").await);
    let followed = create(&ada, "Followed").await;
    let other = create(&ada, "Not followed").await;
    let (mut stream, _) = ada.listen(json!({ "resourceSubscriptions": [uri(&followed)] })).await;
    for id in [&other, &followed] {
        ada.tool("items_update", json!({ "id": id, "body": "changed" })).await.output();
    }
    let first = stream.expect("notifications/resources/updated").await;
    assert_eq!(first["params"]["uri"], uri(&followed));
}

#[tokio::test]
async fn what_is_not_served_is_left_out_of_the_acknowledgment() {
    let cluster = Cluster::on_sqlite(1).await;
    let ada = cluster.web(0).modern(cluster.token("ada").await);
    let filter = json!({
        "toolsListChanged": true,
        "resourceSubscriptions": ["items://recent", "file:///etc/passwd"],
    });
    let (_stream, honoured) = ada.listen(filter).await;
    assert_eq!(honoured["resourceSubscriptions"], json!(["items://recent"]));
    let (_stream, honoured) = ada.listen(json!({})).await;
    assert_eq!(honoured, json!({}));
}

async fn a_session_hears_of_what_it_follows(database: Database) {
    let cluster = Setup::new(database).instances(2).start().await;
    for revision in Revision::LEGACY {
        let token = cluster.token(&format!("user of {revision}")).await;
        let changes = cluster.web(0).modern(&token);
        let followed = create(&changes, "Followed").await;
        let other = create(&changes, "Not followed").await;
        let ada = cluster.web(0).legacy(&token, revision).await;
        let mut stream = ada.at(cluster.web(1)).listen().await;

        let follow = async |what: &str, id: &str| {
            let answer = ada.call(&format!("resources/{what}"), json!({ "uri": uri(id) })).await;
            assert_eq!(answer.result(), &json!({}));
        };
        let change = async |id: &str, body: &str| {
            let change = json!({ "id": id, "body": body });
            changes.tool("items_update", change).await.output();
        };
        follow("subscribe", &followed).await;
        change(&other, "one").await;
        change(&followed, "two").await;
        follow("unsubscribe", &followed).await;
        change(&followed, "three").await;
        // A notification that the session gets in any case, as proof that the others were not sent.
        create(&changes, "The end").await;
        let heard = updates_until(&mut stream, "notifications/resources/list_changed").await;
        assert_eq!(heard, [uri(&followed)], "{revision}");
    }
}

#[tokio::test]
async fn the_lists_of_tools_and_prompts_can_be_followed() {
    let cluster = Cluster::on_sqlite(2).await;
    let ada = cluster.web(0).modern(cluster.token("ada").await);
    let filter = json!({ "promptsListChanged": true });
    let (mut prompts, honoured) = ada.at(cluster.web(1)).listen(filter.clone()).await;
    assert_eq!(honoured, filter);
    let (mut tools, _) = ada.listen(json!({ "toolsListChanged": true })).await;

    ada.tool("test_trigger_tool_change", json!({})).await;
    ada.tool("test_trigger_prompt_change", json!({})).await;
    tools.expect("notifications/tools/list_changed").await;
    prompts.expect("notifications/prompts/list_changed").await;
}

#[tokio::test]
async fn a_listener_cancels_by_going_away() {
    let cluster = Cluster::on_sqlite(1).await;
    let ada = cluster.web(0).modern(cluster.token("ada").await);
    for _ in 0..3 {
        let (stream, _) = ada.listen(json!({ "resourcesListChanged": true })).await;
        drop(stream);
    }
    // No open stream delays the shutdown.
    cluster.stop().await;
}

#[tokio::test]
async fn one_cannot_listen_without_saying_to_what() {
    let cluster = Cluster::on_sqlite(1).await;
    let ada = cluster.web(0).modern(cluster.token("ada").await);
    for params in [json!({}), json!({ "notifications": 7 }), json!({ "notifications": null })] {
        let body = ada.body("subscriptions/listen", params);
        assert_eq!(ada.send_on_purpose(&body).await.code(), -32602);
    }
    let too_many: Vec<Value> =
        (0..1_001).map(|number| json!(format!("items://by-id/{number}"))).collect();
    let filter = json!({ "notifications": { "resourceSubscriptions": too_many } });
    assert_eq!(ada.call("subscriptions/listen", filter).await.code(), -32602);
}
