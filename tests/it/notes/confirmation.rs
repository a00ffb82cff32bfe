//! Confirmation of a deletion with clients that cannot show a question, or decline it by themselves; and
//! a server that changes nothing.

use std::time::Duration;

use serde_json::{Value, json};
use tests::{
    client::Modern,
    cluster::{Cluster, Database, Setup},
    schema::Revision,
};

async fn two_instances() -> Cluster {
    Setup::new(Database::Sqlite).product(notes::product).instances(2).start().await
}

async fn ada(cluster: &Cluster) -> Modern {
    cluster.web(0).modern(cluster.token("ada").await).with_capabilities(json!({}))
}

async fn create(client: &Modern, title: &str) -> Value {
    let created = client.tool("notes_create", json!({ "title": title, "body": "" })).await;
    created.output()["id"].clone()
}

/// Asserts that a note was kept because the user could not be asked, and returns the token.
fn wanted(output: &Value, title: &str) -> Value {
    assert_eq!(output["deleted"], false, "{output}");
    assert!(output["question"].as_str().unwrap().contains(title), "{output}");
    let reason = output["reason"].as_str().unwrap();
    assert!(reason.contains("Nothing was changed") && reason.contains("notes_delete"), "{reason}");
    assert!(!reason.contains("The user declined"), "{reason}");
    output["confirm"].clone()
}

#[tokio::test]
async fn a_client_without_elicitation_confirms_with_a_token_at_any_instance() {
    let cluster = two_instances().await;
    let modern = ada(&cluster).await;
    let token = cluster.token("ada").await;
    let legacy = cluster.web(0).legacy_with(token, Revision::November2025, json!({})).await;
    for (era, title) in [("modern", "Tea"), ("legacy", "Coffee")] {
        let id = create(&modern, title).await;
        let call = async |arguments: Value| match era {
            "modern" => modern.tool("notes_delete", arguments).await.output().clone(),
            _ => legacy.tool("notes_delete", arguments).await.output().clone(),
        };
        let confirm = wanted(&call(json!({ "id": id })).await, title);
        modern.tool("notes_get", json!({ "id": id })).await.output();
        let confirmed = json!({ "id": id, "confirm": confirm });
        let deleted = match era {
            "modern" => modern.at(cluster.web(1)).tool("notes_delete", confirmed).await,
            _ => legacy.at(cluster.web(1)).tool("notes_delete", confirmed).await,
        };
        assert_eq!(deleted.output()["deleted"], true, "{era}");
        assert!(!modern.tool("notes_get", json!({ "id": id })).await.tool_error().is_empty());
    }
}

#[tokio::test]
async fn a_token_confirms_only_what_it_was_made_for() {
    let cluster = two_instances().await;
    let ada = ada(&cluster).await;
    let bob = cluster.web(0).modern(cluster.token("bob").await).with_capabilities(json!({}));
    let [tea, coffee] = [create(&ada, "Tea").await, create(&ada, "Coffee").await];
    let his = create(&bob, "Tea").await;
    let confirm = wanted(ada.tool("notes_delete", json!({ "id": tea })).await.output(), "Tea");

    let other = json!({ "id": coffee, "confirm": confirm });
    wanted(ada.tool("notes_delete", other).await.output(), "Coffee");
    let foreign = json!({ "id": his, "confirm": confirm });
    wanted(bob.tool("notes_delete", foreign).await.output(), "Tea");
    let mut changed = confirm.as_str().unwrap().to_owned().into_bytes();
    changed[40] = if changed[40] == b'A' { b'B' } else { b'A' };
    for bad in [String::from_utf8(changed).unwrap(), "yes".to_owned(), "true".to_owned()] {
        let arguments = json!({ "id": tea, "confirm": bad });
        let again = wanted(ada.tool("notes_delete", arguments).await.output(), "Tea");
        assert_ne!(again, confirm);
    }
    // The user confirmed the deletion of “Tea”, not of what the note is called now.
    ada.tool("notes_update", json!({ "id": tea, "title": "Passwords" })).await.output();
    let arguments = json!({ "id": tea, "confirm": confirm });
    let confirm = wanted(ada.tool("notes_delete", arguments).await.output(), "Passwords");

    cluster.clock().advance(Duration::from_secs(601));
    let ada = cluster.web(0).modern(cluster.token("ada").await).with_capabilities(json!({}));
    let arguments = json!({ "id": tea, "confirm": confirm });
    let late = ada.tool("notes_delete", arguments).await;
    let confirm = wanted(late.output(), "Passwords");
    assert!(late.output()["reason"].as_str().unwrap().contains("expired"));
    let arguments = json!({ "id": tea, "confirm": confirm });
    assert_eq!(ada.tool("notes_delete", arguments).await.output()["deleted"], true);
}

#[tokio::test]
async fn a_client_that_declines_at_once_is_told_to_ask_the_user() {
    let cluster = two_instances().await;
    let token = cluster.token("ada").await;
    let modern = cluster.web(0).modern(&token);
    let legacy = cluster.web(0).legacy(&token, Revision::November2025).await;
    let id = create(&modern, "Tea").await;
    let call = json!({ "name": "notes_delete", "arguments": { "id": id } });
    for refusal in [json!({ "action": "decline" }), json!({ "action": "cancel" })] {
        let asked = modern.call("tools/call", call.clone()).await;
        let mut retry = call.clone();
        retry["requestState"] = asked.result()["requestState"].clone();
        retry["inputResponses"] = json!({ "confirm": refusal });
        let kept = modern.at(cluster.web(1)).call("tools/call", retry).await;
        wanted(kept.output(), "Tea");

        let mut stream = legacy.open("tools/call", call.clone()).await;
        let question = stream.expect("elicitation/create").await;
        let elsewhere = legacy.at(cluster.web(1));
        assert_eq!(elsewhere.respond(&question, refusal.clone()).await, 202);
        let kept = stream.message().await;
        wanted(&kept["result"]["structuredContent"], "Tea");
    }
    // A client that answers with an error has not asked its user either.
    let mut stream = legacy.open("tools/call", call.clone()).await;
    let question = stream.expect("elicitation/create").await;
    assert_eq!(legacy.refuse(&question, -32601, "Method not found").await, 202);
    let kept = stream.message().await;
    let confirm = wanted(&kept["result"]["structuredContent"], "Tea");
    let confirmed = json!({ "id": id, "confirm": confirm });
    assert_eq!(modern.tool("notes_delete", confirmed).await.output()["deleted"], true);
}

#[tokio::test]
async fn a_read_only_server_offers_only_what_changes_nothing() {
    let mut cluster = two_instances().await;
    let writer = ada(&cluster).await;
    let id = create(&writer, "Tea").await;
    let read_only = cluster.join(&[("READ_ONLY", "true")]).await;
    let token = cluster.token("ada").await;
    let modern = cluster.web(read_only).modern(&token).with_capabilities(json!({}));
    let legacy = cluster.web(read_only).legacy(&token, Revision::November2025).await;
    let lists = [
        modern.call("tools/list", Value::Null).await,
        legacy.call("tools/list", Value::Null).await,
    ];
    for list in &lists {
        let tools = list.result()["tools"].as_array().unwrap();
        assert!(tools.iter().all(|it| it["annotations"]["readOnlyHint"] == true), "{tools:#?}");
        assert!(tools.iter().any(|it| it["name"] == "notes_search"));
    }
    let discovered = modern.call("server/discover", Value::Null).await;
    assert!(discovered.result()["instructions"].as_str().unwrap().contains("read-only"));
    for (tool, arguments) in [
        ("notes_create", json!({ "title": "New", "body": "" })),
        ("notes_update", json!({ "id": id, "title": "New" })),
        ("notes_delete", json!({ "id": id })),
        ("notes_import", json!({ "text": "# New" })),
        ("jobs_cancel", json!({ "id": "none" })),
        ("notes.delete", json!({ "id": id })),
    ] {
        let params = json!({ "name": tool, "arguments": arguments });
        for refused in [
            modern.call("tools/call", params.clone()).await,
            legacy.call("tools/call", params.clone()).await,
        ] {
            let error = &refused.message["error"];
            assert!(error["message"].as_str().unwrap().contains("read-only"), "{tool}: {error}");
        }
    }
    let kept = modern.tool("notes_get", json!({ "id": id })).await;
    assert_eq!(kept.output()["title"], "Tea");
}
