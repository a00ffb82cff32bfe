//! What clients see of every tool, prompt and resource, as reviewed: a change shows as a difference
//! of the snapshot.

use serde_json::{Value, json};
use tests::cluster::Cluster;

/// The elements of a list, by name.
async fn listed(method: &str, list: &str) -> Vec<(String, Value)> {
    let cluster = Cluster::embedded().await;
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
