//! The views of the notes: each tool names its own, and a client can read it.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tests::cluster::Database;

use super::notes_on;

/// The maximum size of a view, in bytes.
const MAX_SIZE: usize = 60_000;

#[tokio::test]
async fn every_tool_with_a_view_names_one_that_can_be_read() {
    let cluster = notes_on(Database::Sqlite).await;
    let settings = json!({ "mimeTypes": ["text/html;profile=mcp-app"] });
    let capabilities = json!({ "extensions": { "io.modelcontextprotocol/ui": settings } });
    let ada = cluster.web(0).modern(cluster.token("ada").await).with_capabilities(capabilities);

    let listed = ada.call("tools/list", json!({})).await;
    let view = |tool: &Value| {
        let uri = tool["_meta"]["ui"]["resourceUri"].as_str()?;
        Some((tool["name"].as_str().unwrap().to_owned(), uri.to_owned()))
    };
    let tools = listed.result()["tools"].as_array().unwrap();
    let views: BTreeMap<String, String> = tools.iter().filter_map(view).collect();
    let expected = [
        ("notes_digest", "digest"),
        ("notes_export", "export"),
        ("notes_get", "note"),
        ("notes_import", "import"),
        ("notes_list", "board"),
        ("notes_search", "board"),
        ("notes_stats", "stats"),
    ];
    let expected =
        expected.map(|(tool, view)| (tool.to_owned(), format!("ui://notes/{view}.html")));
    assert_eq!(views, expected.into());

    for uri in views.values() {
        let read = ada.call("resources/read", json!({ "uri": uri })).await;
        let html = read.result()["contents"][0]["text"].as_str().unwrap();
        assert!(html.len() < MAX_SIZE, "{uri}: {} bytes", html.len());
        // Text of users is never parsed as HTML.
        for sink in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
            assert!(!html.contains(sink), "{uri}: {sink}");
        }
    }
}
