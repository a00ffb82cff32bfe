//! What clients, and the models behind them, send as arguments without leaving a doubt about what is
//! meant is taken; anything else is refused with a sentence that says what to send instead.

use serde_json::{Value, json};
use tests::{
    client::{Answer, Modern, Page},
    cluster::{Cluster, Database, Setup},
    schema::Revision,
};

use super::delete;

/// One instance of the product, with a worker for the tools that run as jobs.
async fn whole_product() -> Cluster {
    Setup::new(Database::Sqlite).product(notes::product).workers(1).start().await
}

async fn ada(cluster: &Cluster) -> Modern {
    cluster.web(0).modern(cluster.token("ada").await).with_capabilities(json!({}))
}

async fn create(ada: &Modern, title: &str) -> String {
    let note = json!({ "title": title, "body": "Green", "tags": ["kitchen"] });
    ada.tool("notes_create", note).await.output()["id"].as_str().unwrap().to_owned()
}

/// The tools as they are published.
async fn tools(ada: &Modern) -> Vec<Value> {
    ada.call("tools/list", Value::Null).await.result()["tools"].as_array().unwrap().clone()
}

fn properties(tool: &Value) -> Vec<(String, bool)> {
    let schema = &tool["inputSchema"];
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    let properties = schema["properties"].as_object().unwrap().keys();
    properties.map(|it| (it.clone(), required.iter().any(|name| name == it))).collect()
}

/// Arguments that each tool takes, with every required one and nothing else.
fn least(tool: &str, id: &str) -> Value {
    match tool {
        "notes_search" => json!({ "query": "green" }),
        "notes_get" | "notes_delete" => json!({ "id": id }),
        "notes_create" => json!({ "title": "Tea", "body": "" }),
        "notes_update" => json!({ "id": id, "title": "Tea" }),
        "notes_import" => json!({ "text": "# Tea\n\nGreen" }),
        "jobs_get" | "jobs_cancel" => json!({ "id": "none" }),
        _ => json!({}),
    }
}

/// What a tool said, without what differs from call to call.
fn said(answer: &Answer) -> (bool, String) {
    if let Some(error) = answer.message.get("error") {
        return (true, error.to_string());
    }
    let failed = answer.result().get("isError") == Some(&json!(true));
    (failed, if failed { answer.tool_error().to_owned() } else { String::new() })
}

#[tokio::test]
async fn null_and_empty_text_are_as_absent_for_every_optional_argument_of_every_tool() {
    let cluster = whole_product().await;
    let ada = ada(&cluster).await;
    for tool in tools(&ada).await {
        let name = tool["name"].as_str().unwrap();
        for empty in [Value::Null, json!("")] {
            let id = create(&ada, "Tea").await;
            let arguments = least(name, &id);
            let plain = said(&ada.tool(name, arguments.clone()).await);
            let id = create(&ada, "Tea").await;
            let mut filled = least(name, &id);
            for (property, required) in properties(&tool) {
                if !required && filled.get(&property).is_none() {
                    filled[property] = empty.clone();
                }
            }
            let answer = ada.tool(name, filled.clone()).await;
            assert_eq!(said(&answer), plain, "{name}: {filled} and {arguments}");
        }
    }
    let id = create(&ada, "Tea").await;
    let filled = json!({ "id": id, "title": "Chai", "body": "", "tags": "" });
    let updated = ada.tool("notes_update", filled).await;
    assert_eq!(
        updated.output()["body"],
        "Green",
        "an empty text that was filled in deletes nothing"
    );
    assert_eq!(updated.output()["tags"], json!(["kitchen"]));
    let emptied = ada.tool("notes_update", json!({ "id": id, "tags": [] })).await;
    assert_eq!(emptied.output()["tags"], json!([]), "no tags are not no word about tags");
}

#[tokio::test]
async fn what_clients_add_for_themselves_is_no_mistake_in_any_tool() {
    let cluster = whole_product().await;
    let ada = ada(&cluster).await;
    for tool in tools(&ada).await {
        let name = tool["name"].as_str().unwrap();
        let id = create(&ada, "Tea").await;
        let plain = said(&ada.tool(name, least(name, &id)).await);
        let id = create(&ada, "Tea").await;
        let mut arguments = least(name, &id);
        for added in ["toolCallId", "sessionId", "action", "chatInput", "wait_for_previous"] {
            arguments[added] = json!("call_0BCI");
        }
        assert_eq!(said(&ada.tool(name, arguments).await), plain, "{name}");
    }
}

#[tokio::test]
async fn an_unknown_argument_of_any_tool_is_refused_with_the_nearest_known_one() {
    let cluster = whole_product().await;
    let ada = ada(&cluster).await;
    let id = create(&ada, "Tea").await;
    for tool in tools(&ada).await {
        let name = tool["name"].as_str().unwrap();
        for (property, _) in properties(&tool) {
            let wrong = format!("{property}x");
            let mut arguments = least(name, &id);
            arguments[&wrong] = Value::Null;
            let answer = ada.tool(name, arguments).await;
            let sentence = answer.tool_error();
            assert!(
                sentence.contains(&format!("`{wrong}` is unknown"))
                    && sentence.contains(&format!("nearest known name is `{property}`")),
                "{name}: {sentence}"
            );
        }
    }
    ada.tool("notes_get", json!({ "id": id })).await.output();
}

#[tokio::test]
async fn numbers_and_structures_may_be_written_differently() {
    let cluster = whole_product().await;
    let ada = ada(&cluster).await;
    let id = create(&ada, "Tea").await;
    create(&ada, "Coffee").await;
    let token = cluster.token("ada").await;
    for limit in ["1", "1.0", "1e0", "10e-1", "\"1\"", "\"1.0\""] {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1.0,"method":"tools/call","params":{{"name":"notes_list",
            "arguments":{{"limit":{limit}}},"_meta":{{
                "io.modelcontextprotocol/protocolVersion":"2026-07-28",
                "io.modelcontextprotocol/clientCapabilities":{{}}}}}}}}"#
        );
        let request = cluster
            .web(0)
            .post(&token, body)
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", "tools/call")
            .header("mcp-name", "notes_list");
        let page = Page::read(request).await;
        let answer = page.json();
        assert_eq!(answer["id"], 1, "an integer is an integer everywhere: {}", page.text());
        let notes = answer["result"]["structuredContent"]["notes"].as_array();
        assert_eq!(notes.map(Vec::len), Some(1), "{limit}: {answer}");
    }
    for wrong in [json!(1.5), json!("one"), json!([1]), json!({}), json!(true), json!(1e30)] {
        let refused = ada.tool("notes_list", json!({ "limit": wrong })).await;
        assert!(refused.tool_error().contains("`limit`"), "{wrong}: {}", refused.tool_error());
    }
    let written = json!({ "title": "Chai", "body": "", "tags": "[\"a\", \"b\"]" });
    assert_eq!(ada.tool("notes_create", written).await.output()["tags"], json!(["a", "b"]));
    let as_text = json!({ "title": "[1]", "body": "{\"a\": 1}" });
    let kept = ada.tool("notes_create", as_text).await;
    assert_eq!(
        (&kept.output()["title"], &kept.output()["body"]),
        (&json!("[1]"), &json!("{\"a\": 1}"))
    );
    let whole = json!({
        "name": "notes_get", "arguments": json!({ "id": id, "sessionId": "s" }).to_string(),
    });
    let got = ada.send_on_purpose(&ada.body("tools/call", whole)).await;
    assert_eq!(got.output()["title"], "Tea", "the arguments as one text");
}

#[tokio::test]
async fn an_array_is_nobodys_arguments() {
    let cluster = whole_product().await;
    let ada = ada(&cluster).await;
    let id = create(&ada, "Tea").await;
    for arguments in [json!([id]), json!([]), json!([[id]]), json!("[]"), json!(7)] {
        for (tool, params) in [
            ("tools/call", json!({ "name": "notes_delete", "arguments": arguments })),
            ("prompts/get", json!({ "name": "summarize_notes", "arguments": arguments })),
        ] {
            let refused = ada.send_on_purpose(&ada.body(tool, params)).await;
            assert_eq!(refused.code(), -32602, "{tool}: {arguments}");
        }
    }
    ada.tool("notes_get", json!({ "id": id })).await.output();
}

#[tokio::test]
async fn a_note_is_named_by_its_id_or_by_its_resource() {
    let cluster = whole_product().await;
    let ada = ada(&cluster).await;
    let id = create(&ada, "Tea").await;
    let uri = format!("notes://by-id/{id}");
    assert_eq!(ada.tool("notes_get", json!({ "id": uri })).await.output()["id"], json!(id));
    let changed = ada.tool("notes_update", json!({ "id": uri, "title": "Chai" })).await;
    assert_eq!(changed.output()["title"], "Chai");
    // No model summarizes, but the notes are found.
    for tool in ["notes_summarize", "notes_digest"] {
        let params = json!({ "name": tool, "arguments": { "ids": [uri, id] } });
        let refused = ada.call("tools/call", params).await.message.to_string();
        assert!(!refused.contains("do not fit"), "{tool}: {refused}");
    }
    for wrong in ["notes://recent", "notes://by-id/1", "https://notes.example/1"] {
        let refused = ada.tool("notes_get", json!({ "id": wrong })).await;
        assert!(refused.tool_error().contains("is not the id of a note"), "{wrong}");
    }
    let deleted = delete(&ada, uri).await;
    assert_eq!(deleted.output()["deleted"], true);
}

#[tokio::test]
async fn half_a_surrogate_pair_is_explained() {
    let cluster = whole_product().await;
    let token = cluster.token("ada").await;
    let session = cluster.web(0).legacy(&token, Revision::November2025).await;
    let call = |params: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#)
    };
    let title = r#"{"name":"notes_create","arguments":{"title":"\ud83d","body":""}}"#;
    let tag = r#"{"name":"notes_create","arguments":{"title":"a","body":"","tags":["\ude00x"]}}"#;
    let name = r#"{"name":"notes_\ud83d","arguments":{}}"#;
    for (params, place) in [(title, "`title`"), (tag, "`tags[0]`"), (name, "`name`")] {
        let request = cluster
            .web(0)
            .post(&token, call(params))
            .header("mcp-session-id", session.session())
            .header("mcp-protocol-version", "2025-11-25");
        let page = Page::read(request).await;
        let text = page.text();
        assert!(text.contains("half of a surrogate pair") && text.contains(place), "{text}");
        assert!(!text.contains("escape") && !text.contains("column"), "{text}");
    }
    let registration = r#"{"client_name":"\ud83d","redirect_uris":["http://127.0.0.1/cb"]}"#;
    let request = cluster
        .web(0)
        .request(reqwest::Method::POST, "/register")
        .header("content-type", "application/json")
        .body(registration);
    let page = Page::read(request).await;
    assert_eq!(page.status, 400);
    assert!(page.text().contains("half of a surrogate pair"), "{}", page.text());
}

#[tokio::test]
async fn an_answer_that_is_an_array_agrees_to_nothing() {
    let cluster = whole_product().await;
    let token = cluster.token("ada").await;
    let plain = ada(&cluster).await;
    let modern = cluster.web(0).modern(&token);
    let id = create(&plain, "Tea").await;
    let delete = json!({ "name": "notes_delete", "arguments": { "id": id } });
    for answer in [
        json!({ "action": "accept", "content": [true] }),
        json!({ "action": "accept", "content": "[true]" }),
        json!({ "action": "accept", "content": [{ "confirm": true }] }),
        json!(["accept", { "confirm": true }]),
        json!({ "action": "accept", "content": { "confirm": [true] } }),
    ] {
        let asked = modern.call("tools/call", delete.clone()).await;
        let mut retry = delete.clone();
        retry["requestState"] = asked.result()["requestState"].clone();
        retry["inputResponses"] = json!({ "confirm": answer });
        let refused = modern.send_on_purpose(&modern.body("tools/call", retry)).await;
        assert_eq!(refused.code(), -32602, "{answer}: {:#}", refused.message);

        let session = cluster.web(0).legacy(&token, Revision::November2025).await;
        let mut stream = session.open("tools/call", delete.clone()).await;
        let question = stream.expect("elicitation/create").await;
        let body = json!({ "jsonrpc": "2.0", "id": question["id"], "result": answer });
        assert_eq!(session.send_on_purpose(&body).await.status, 202);
        let done = stream.message().await;
        assert_eq!(done["result"]["isError"], true, "{answer}: {done:#}");
        plain.tool("notes_get", json!({ "id": id })).await.output();
    }
}
