//! The product: notes. Another product replaces this folder with tests of its own.

mod arguments;
mod confirmation;
mod contracts;
mod corpus;
mod encrypted;
mod fairness;
mod isolation;
mod jobs;
mod pages;
mod pagination;
mod processes;
mod quota;
mod rmcp_client;
mod stats;
mod store;
mod tools;
mod views;

use serde_json::{Value, json};
use tests::{
    client::{Answer, Modern},
    cluster::{Cluster, Database, Setup},
};

/// Starts one instance.
async fn notes_on(database: Database) -> Cluster {
    Setup::new(database).product(notes::product).start().await
}

/// Deletes a note with a client that cannot ask its user: the second call confirms.
async fn delete(client: &Modern, id: impl Into<Value>) -> Answer {
    let id = id.into();
    let client = client.with_capabilities(json!({}));
    let wanted = client.tool("notes_delete", json!({ "id": id })).await;
    let confirm = wanted.output()["confirm"].clone();
    client.tool("notes_delete", json!({ "id": id, "confirm": confirm })).await
}
