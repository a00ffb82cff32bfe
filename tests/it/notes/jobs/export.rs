//! `notes_export`: writes a file that any instance serves for an hour.

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::Method;
use serde_json::{Value, json};
use tests::{
    client::{Modern, Page, Web},
    cluster::{Cluster, Database, Setup},
    schema::Revision,
};

use super::{alone, body, titles};

on_both_databases!(
    an_export_is_downloaded_from_any_instance,
    what_was_exported_can_be_imported,
    an_address_is_good_for_an_hour,
    an_export_is_a_resource_of_its_owner,
    a_large_export_comes_in_pieces,
    a_session_gets_a_link,
    exports_go_with_the_account,
);

async fn on(database: Database) -> Cluster {
    Setup::new(database).product(notes::product).workers(1).instances(2).start().await
}

async fn ada(cluster: &Cluster) -> Modern {
    alone(&cluster.web(0).modern(cluster.token("ada").await))
}

async fn export(client: &Modern, arguments: Value) -> Value {
    client.tool("notes_export", arguments).await.output().clone()
}

/// The path of the address, at some instance.
async fn download(web: &Web, made: &Value) -> Page {
    let url = made["download_url"].as_str().unwrap();
    let (_, path) = url.split_once("/exports/").unwrap();
    web.get(&format!("/exports/{path}")).await
}

async fn an_export_is_downloaded_from_any_instance(database: Database) {
    let cluster = on(database).await;
    let ada = ada(&cluster).await;
    for (title, tag) in [("Tea", "kitchen"), ("Bread", "kitchen"), ("Pump", "garden")] {
        let note = json!({ "title": title, "body": "Text", "tags": [tag] });
        ada.tool("notes_create", note).await.output();
    }
    let made = export(&ada, json!({ "tag": "kitchen" })).await;
    assert_eq!((&made["notes"], &made["media_type"]), (&json!(2), &json!("application/zip")));
    let file = download(cluster.web(1), &made).await;
    assert_eq!(file.status, 200);
    assert_eq!(made["bytes"], file.body.len());
    assert!(file.body.starts_with(b"PK\x03\x04"), "a ZIP");
    for (header, value) in [
        ("content-type", "application/zip"),
        ("cache-control", "private, no-store"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        assert_eq!(file.header(header), value);
    }
    let name = made["file_name"].as_str().unwrap();
    assert_eq!(file.header("content-disposition"), format!("attachment; filename=\"{name}\""));

    let url = made["download_url"].as_str().unwrap();
    let path = &url[url.find("/exports/").unwrap()..];
    let head = Page::read(cluster.web(1).request(Method::HEAD, path)).await;
    assert_eq!(head.header("content-length"), file.body.len().to_string());
    assert!(head.body.is_empty());
    let refused = Page::read(cluster.web(1).request(Method::POST, path)).await;
    assert_eq!((refused.status.as_u16(), refused.header("allow")), (405, "GET, HEAD"));
}

async fn what_was_exported_can_be_imported(database: Database) {
    let cluster = on(database).await;
    let ada = ada(&cluster).await;
    let bob = alone(&cluster.web(1).modern(cluster.token("bob").await));
    let odd = "---\n<!-- notes-mcp: next note -->\n\\\r\n# not the title\n";
    for (title, body) in [("Tea: \"green\"", odd), ("#1", ""), ("[x]", "  \n")] {
        ada.tool("notes_create", json!({ "title": title, "body": body, "tags": ["a, b"] })).await;
    }
    for format in ["json", "markdown"] {
        let made = export(&ada, json!({ "format": format })).await;
        let text = download(cluster.web(0), &made).await.text();
        let imported = bob
            .tool("notes_import", json!({ "text": text, "on_conflict": "replace" }))
            .await
            .output()
            .clone();
        assert_eq!(imported["total"], 3, "{format}");
        assert_eq!(titles(&bob).await, titles(&ada).await, "{format}");
        assert_eq!(body(&bob, "Tea: \"green\"").await, odd, "{format}");
        let tagged = bob.tool("notes_list", json!({ "tag": "a, b" })).await;
        assert_eq!(tagged.output()["notes"].as_array().unwrap().len(), 3, "{format}");
    }
}

async fn an_address_is_good_for_an_hour(database: Database) {
    let cluster = on(database).await;
    let ada = ada(&cluster).await;
    let made = export(&ada, json!({})).await;
    assert_eq!(download(cluster.web(1), &made).await.status, 200, "an empty file is one too");
    for wrong in ["x", "mxp_", &format!("mxp_{}", "A".repeat(49))] {
        let page = cluster.web(0).get(&format!("/exports/{wrong}")).await;
        assert_eq!((page.status.as_u16(), &page.json()["error"]), (404, &json!("not_found")));
    }
    cluster.clock().advance(Duration::from_mins(61));
    let gone = download(cluster.web(1), &made).await;
    assert_eq!(gone.status, 404);
    assert!(gone.json()["error_description"].as_str().unwrap().contains("new export"));
    let swept = cluster.app().downloads().sweep_expired().await.unwrap();
    assert_eq!(swept, 1);
    let swept = cluster.app().downloads().sweep_expired().await.unwrap();
    assert_eq!(swept, 0, "nothing is left");
}

async fn an_export_is_a_resource_of_its_owner(database: Database) {
    let cluster = on(database).await;
    let ada = ada(&cluster).await;
    ada.tool("notes_create", json!({ "title": "Tea", "body": "" })).await.output();
    let zip = export(&ada, json!({})).await;
    let json = export(&ada, json!({ "format": "json" })).await;
    let read = async |client: &Modern, made: &Value| {
        client.call("resources/read", json!({ "uri": made["uri"] })).await
    };
    let contents = read(&ada, &zip).await.result()["contents"][0].clone();
    assert_eq!(contents["mimeType"], "application/zip");
    let bytes = BASE64_STANDARD.decode(contents["blob"].as_str().unwrap()).unwrap();
    assert_eq!(bytes, download(cluster.web(1), &zip).await.body);
    let contents = read(&ada, &json).await.result()["contents"][0].clone();
    let document: Value = serde_json::from_str(contents["text"].as_str().unwrap()).unwrap();
    assert_eq!(document["notes"][0]["title"], "Tea");
    let bob = cluster.web(0).modern(cluster.token("bob").await);
    assert_eq!(read(&bob, &zip).await.code(), -32602, "it is not his");

    for _ in 0..3 {
        cluster.clock().advance(Duration::from_secs(1));
        export(&ada, json!({})).await;
    }
    assert_eq!(read(&ada, &zip).await.code(), -32602, "old ones make room");
    assert_eq!(download(cluster.web(0), &zip).await.status, 404);
}

async fn a_large_export_comes_in_pieces(database: Database) {
    let cluster = on(database).await;
    let ada = ada(&cluster).await;
    // Digits that a compressor cannot do much about.
    let noise = |seed: u64| -> String {
        let mut state = seed;
        let digits = std::iter::from_fn(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            Some(format!("{:016x}", state ^ (state >> 29)))
        });
        digits.take(6_000).collect()
    };
    let notes: Vec<_> =
        (0..30).map(|it| json!({ "title": it.to_string(), "body": noise(it) })).collect();
    ada.tool("notes_import", json!({ "text": Value::Array(notes).to_string() })).await.output();
    let made = export(&ada, json!({ "format": "json" })).await;
    let file = download(cluster.web(1), &made).await;
    assert_eq!(made["bytes"], file.body.len());
    assert!(file.body.len() > 2_800_000, "more than ten pieces");
    let document: Value = serde_json::from_slice(&file.body).unwrap();
    assert_eq!(document["notes"].as_array().unwrap().len(), 30);
    let refused = ada.call("resources/read", json!({ "uri": made["uri"] })).await;
    assert!(refused.message["error"]["message"].as_str().unwrap().contains("download"));
}

async fn a_session_gets_a_link(database: Database) {
    let cluster = on(database).await;
    let session = cluster.web(0).legacy(cluster.token("ada").await, Revision::June2025).await;
    let made = session.tool("notes_export", json!({})).await;
    let link = &made.result()["content"][1];
    assert_eq!((&link["type"], &link["uri"]), (&json!("resource_link"), &made.output()["uri"]));
    assert_eq!(link["size"], made.output()["bytes"]);
}

async fn exports_go_with_the_account(database: Database) {
    let cluster = on(database).await;
    let ada = ada(&cluster).await;
    let made = export(&ada, json!({})).await;
    let user = mcp::UserId::new("dev:ada");
    let request = oauth::audit::RequestInfo::default();
    oauth::account::delete(cluster.app().oauth(), &user, &request).await.unwrap();
    assert_eq!(download(cluster.web(0), &made).await.status, 404);
}
