//! A token that may only read cannot write, and its client learns what to ask for.

use notes::scopes::READ;
use serde_json::json;
use tests::{client::Answer, cluster::Cluster, schema::Revision};

fn is_challenged(answer: &Answer, origin: &str) {
    assert_eq!(answer.status, 403, "{:#}", answer.message);
    let challenge = answer.header("www-authenticate");
    assert!(challenge.starts_with("Bearer "), "{challenge}");
    for part in [
        r#"error="insufficient_scope""#.to_owned(),
        // What it has and what it needs, for clients that do not add the two.
        r#"scope="notes:read notes:write""#.to_owned(),
        format!(r#"resource_metadata="{origin}/.well-known/oauth-protected-resource/mcp""#),
        "error_description=".to_owned(),
    ] {
        assert!(challenge.contains(&part), "no {part} in {challenge}");
    }
}

#[tokio::test]
async fn a_call_beyond_the_token_is_challenged_in_both_eras() {
    let cluster = Cluster::embedded().await;
    let web = cluster.web(0);
    let reader = cluster.token_for("ada", &[READ]).await;
    let note = json!({ "title": "Not mine to write", "body": "" });

    let modern = web.modern(&reader);
    is_challenged(&modern.tool("notes_create", note.clone()).await, web.origin());
    let legacy = web.legacy(&reader, Revision::November2025).await;
    is_challenged(&legacy.tool("notes_create", note.clone()).await, web.origin());
    is_challenged(&legacy.tool("notes.create", note).await, web.origin());

    let listed = modern.tool("notes_list", json!({})).await;
    assert_eq!(listed.output()["notes"], json!([]), "nothing was written");
}

#[tokio::test]
async fn a_token_without_scopes_opens_nothing() {
    let cluster = Cluster::embedded().await;
    let nobody = cluster.web(0).modern(cluster.token_for("ada", &[]).await);
    for (method, params) in [
        ("tools/call", json!({ "name": "notes_list", "arguments": {} })),
        ("resources/read", json!({ "uri": "notes://recent" })),
        ("prompts/get", json!({ "name": "summarize_notes", "arguments": {} })),
    ] {
        let answer = nobody.call(method, params).await;
        assert_eq!(answer.status, 403, "{method}: {:#}", answer.message);
    }
    let (_stream, honoured) =
        nobody.listen(json!({ "resourceSubscriptions": ["notes://recent"] })).await;
    assert_eq!(honoured.get("resourceSubscriptions"), None, "{honoured}");
}

#[tokio::test]
async fn an_answer_with_a_narrower_token_lets_no_call_go_on() {
    let cluster = Cluster::embedded().await;
    let writer = cluster.web(0).legacy(cluster.token("ada").await, Revision::November2025).await;
    let note = json!({ "title": "Groceries", "body": "Milk" });
    let id = writer.tool("notes_create", note).await.output()["id"].clone();
    let delete = json!({ "name": "notes_delete", "arguments": { "id": id } });
    let mut stream = writer.open("tools/call", delete).await;
    let question = stream.expect("elicitation/create").await;

    let reader = writer.presented_with(cluster.token_for("ada", &[READ]).await);
    let yes = json!({ "action": "accept", "content": { "confirm": true } });
    assert_eq!(reader.respond(&question, yes).await, 202);
    let answer = stream.message().await;
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.contains("`notes:write`"), "{message}");
    stream.rest().await;
    let kept = writer.tool("notes_get", json!({ "id": id })).await;
    assert_eq!(kept.output()["title"], "Groceries");
}
