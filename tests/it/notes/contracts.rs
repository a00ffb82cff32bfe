//! What clients see of every tool, prompt and resource, as reviewed: a change shows as a difference
//! of the snapshot.

use serde_json::{Map, Value, json};
use tests::{
    cluster::{Cluster, Database, Setup},
    schema::Revision,
};

/// The elements of a list, by name.
async fn listed(method: &str, list: &str) -> Vec<(String, Value)> {
    let cluster = Setup::new(Database::Sqlite).product(notes::product).start().await;
    let ada = cluster.web(0).modern(cluster.token("ada").await);
    let answer = ada.call(method, Value::Null).await;
    let elements = answer.result()[list].as_array().unwrap().clone();
    elements.into_iter().map(|it| (it["name"].as_str().unwrap().to_owned(), it)).collect()
}

#[tokio::test]
async fn every_tool_is_as_reviewed() {
    let tools = listed("tools/list", "tools").await;
    assert!(!tools.is_empty());
    for (name, mut tool) in tools {
        // Pictures say nothing in a review.
        if let Some(icons) = tool.get_mut("icons") {
            *icons = json!(icons.as_array().unwrap().len());
        }
        insta::assert_json_snapshot!(format!("tool-{name}"), tool);
    }
}

#[tokio::test]
async fn every_prompt_and_resource_is_as_reviewed() {
    for (method, list) in
        [("prompts/list", "prompts"), ("resources/templates/list", "resourceTemplates")]
    {
        let elements: Vec<Value> = listed(method, list).await.into_iter().map(|it| it.1).collect();
        insta::assert_json_snapshot!(list, elements);
    }
}

#[tokio::test]
async fn the_product_offers_no_fixture() {
    for (method, list) in [("tools/list", "tools"), ("prompts/list", "prompts")] {
        for (name, _) in listed(method, list).await {
            assert!(!name.starts_with("test"), "{name}");
        }
    }
}

/// The keywords that Gemini's `Schema`, `OpenAI`'s strict mode and all clients between know. `type` is
/// one type, and an `enum` is one of texts.
const PORTABLE: [&str; 12] = [
    "type",
    "title",
    "description",
    "enum",
    "properties",
    "required",
    "items",
    "anyOf",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
];

/// `OpenAI` takes no deeper schema.
const MAX_DEPTH: usize = 5;

/// `OpenAI` takes no longer description of a function.
const MAX_DESCRIPTION: usize = 1_024;

fn check_portable(place: &str, schema: &Value, depth: usize) {
    let schema = schema.as_object().unwrap_or_else(|| panic!("{place} is no object: {schema}"));
    assert!(depth <= MAX_DEPTH, "{place} is too deep");
    for keyword in schema.keys() {
        assert!(PORTABLE.contains(&keyword.as_str()), "{place} has `{keyword}`");
    }
    for choice in schema.get("anyOf").and_then(Value::as_array).into_iter().flatten() {
        check_portable(&format!("{place}.anyOf"), choice, depth);
    }
    if schema.contains_key("anyOf") {
        return;
    }
    let kind = schema.get("type").and_then(Value::as_str);
    let kind = kind.unwrap_or_else(|| panic!("{place} has no single type: {schema:?}"));
    if let Some(choices) = schema.get("enum") {
        let texts = choices.as_array().unwrap().iter().all(Value::is_string);
        assert!(kind == "string" && texts, "{place} is a choice of something else than texts");
    }
    match kind {
        "object" => check_object(place, schema, depth),
        "array" => check_portable(&format!("{place}[]"), &schema["items"], depth + 1),
        "string" | "integer" | "number" | "boolean" => {}
        other => panic!("{place} is of type {other}"),
    }
}

fn check_object(place: &str, schema: &Map<String, Value>, depth: usize) {
    let properties = schema.get("properties").and_then(Value::as_object);
    for name in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
        let known = properties.is_some_and(|it| it.contains_key(name.as_str().unwrap()));
        assert!(known, "{place} requires {name}, which it does not have");
    }
    for (name, property) in properties.into_iter().flatten() {
        assert!(is_portable_name(name), "{place} has `{name}`");
        check_portable(&format!("{place}.{name}"), property, depth + 1);
    }
}

fn is_portable_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'_' || it == b'-')
}

fn check_tool(tool: &Value) {
    let name = tool["name"].as_str().unwrap();
    assert!(is_portable_name(name), "{name}");
    assert!(tool["description"].as_str().unwrap().len() <= MAX_DESCRIPTION, "{name}");
    assert_eq!(tool["inputSchema"]["type"], "object", "{name}");
    assert!(tool["inputSchema"]["properties"].is_object(), "{name}");
    check_portable(&format!("{name}.input"), &tool["inputSchema"], 1);
    if let Some(output) = tool.get("outputSchema") {
        assert_eq!(output["type"], "object", "{name}");
        check_portable(&format!("{name}.output"), output, 1);
    }
}

#[tokio::test]
async fn every_client_and_provider_takes_the_schemas_of_every_tool() {
    let cluster = Setup::new(Database::Sqlite).product(notes::product).start().await;
    let token = cluster.token("ada").await;
    let modern = cluster.web(0).modern(&token).call("tools/list", Value::Null).await;
    let mut lists = vec![modern];
    for revision in Revision::LEGACY {
        let session = cluster.web(0).legacy(&token, revision).await;
        lists.push(session.call("tools/list", Value::Null).await);
    }
    for list in lists {
        let tools = list.result()["tools"].as_array().unwrap();
        assert!(!tools.is_empty());
        for tool in tools {
            check_tool(tool);
            let properties = tool["inputSchema"]["properties"].as_object().unwrap();
            assert!(!properties.is_empty(), "Gemini takes no object without properties: {tool}");
        }
    }
    // The rule is one of every catalog, and its one exception is a schema written by hand.
    let fixtures = Cluster::on_sqlite(1).await;
    let ada = fixtures.web(0).modern(fixtures.token("ada").await);
    let list = ada.call("tools/list", Value::Null).await;
    for tool in list.result()["tools"].as_array().unwrap() {
        let by_hand = tool["name"] == "json_schema_2020_12_tool";
        let for_headers = tool["inputSchema"].to_string().contains("x-mcp-header");
        if !by_hand && !for_headers {
            check_tool(tool);
        }
    }
}

#[tokio::test]
async fn a_question_offers_its_choices_as_every_client_can_show_them() {
    let cluster = Setup::new(Database::Sqlite).product(notes::product).workers(1).start().await;
    let ada = cluster.web(0).modern(cluster.token("ada").await);
    let note = json!({ "title": "Tea", "body": "" });
    let id = ada.tool("notes_create", note).await.output()["id"].clone();
    let import = json!({ "text": "---\ntitle: Tea\n---\nGreen", "format": "markdown" });
    for (tool, arguments) in [("notes_delete", json!({ "id": id })), ("notes_import", import)] {
        let asked = ada.tool(tool, arguments).await;
        let questions = asked.result()["inputRequests"].as_object();
        let questions = questions.unwrap_or_else(|| panic!("{tool}: {:#}", asked.message));
        for question in questions.values() {
            let form = &question["params"]["requestedSchema"];
            check_portable(tool, form, 1);
        }
    }
}
