//! A token that may only read cannot write, and its client learns what to ask for.

use serde_json::json;
use tests::fixtures::items::READ;
use tests::{client::Answer, cluster::Cluster, schema::Revision};

fn is_challenged(answer: &Answer, origin: &str) {
    assert_eq!(answer.status, 403, "{:#}", answer.message);
    let challenge = answer.header("www-authenticate");
    assert!(challenge.starts_with("Bearer "), "{challenge}");
    for part in [
        r#"error="insufficient_scope""#.to_owned(),
        // What it has and what it needs, for clients that do not add the two.
        r#"scope="items:read items:write""#.to_owned(),
        format!(r#"resource_metadata="{origin}/.well-known/oauth-protected-resource/mcp""#),
        "error_description=".to_owned(),
    ] {
        assert!(challenge.contains(&part), "no {part} in {challenge}");
    }
}

#[tokio::test]
async fn a_call_beyond_the_token_is_challenged_in_both_eras() {
    let cluster = Cluster::on_sqlite(1).await;
    let web = cluster.web(0);
    let reader = cluster.token_for("ada", &[READ]).await;
    let item = json!({ "title": "Not mine to write", "body": "" });

    let modern = web.modern(&reader);
    is_challenged(&modern.tool("items_create", item.clone()).await, web.origin());
    let legacy = web.legacy(&reader, Revision::November2025).await;
    is_challenged(&legacy.tool("items_create", item.clone()).await, web.origin());
    is_challenged(&legacy.tool("items.create", item).await, web.origin());

    let listed = modern.tool("items_list", json!({})).await;
    assert_eq!(listed.output()["items"], json!([]), "nothing was written");
}

#[tokio::test]
async fn a_token_without_scopes_opens_nothing() {
    let cluster = Cluster::on_sqlite(1).await;
    let nobody = cluster.web(0).modern(cluster.token_for("ada", &[]).await);
    for (method, params) in [
        ("tools/call", json!({ "name": "items_list", "arguments": {} })),
        ("resources/read", json!({ "uri": "items://recent" })),
        ("prompts/get", json!({ "name": "items_review", "arguments": {} })),
    ] {
        let answer = nobody.call(method, params).await;
        assert_eq!(answer.status, 403, "{method}: {:#}", answer.message);
    }
    let (_stream, honoured) =
        nobody.listen(json!({ "resourceSubscriptions": ["items://recent"] })).await;
    assert_eq!(honoured.get("resourceSubscriptions"), None, "{honoured}");
}

#[tokio::test]
async fn an_answer_with_a_narrower_token_lets_no_call_go_on() {
    let cluster = Cluster::on_sqlite(1).await;
    let writer = cluster.web(0).legacy(cluster.token("ada").await, Revision::November2025).await;
    let item = json!({ "title": "Groceries", "body": "Milk" });
    let id = writer.tool("items_create", item).await.output()["id"].clone();
    let delete = json!({ "name": "items_delete", "arguments": { "id": id } });
    let mut stream = writer.open("tools/call", delete).await;
    let question = stream.expect("elicitation/create").await;

    let reader = writer.presented_with(cluster.token_for("ada", &[READ]).await);
    let yes = json!({ "action": "accept", "content": { "confirm": true } });
    assert_eq!(reader.respond(&question, yes).await, 202);
    let answer = stream.message().await;
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.contains("`items:write`"), "{message}");
    stream.rest().await;
    let kept = writer.tool("items_get", json!({ "id": id })).await;
    assert_eq!(kept.output()["title"], "Groceries");
}
