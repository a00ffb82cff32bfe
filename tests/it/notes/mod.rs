//! The product: notes. Another product replaces this folder with tests of its own.

mod arguments;
mod contracts;
mod fairness;
mod isolation;
mod jobs;
mod pagination;
mod processes;
mod quota;
mod rmcp_client;
mod store;
mod tools;

use tests::cluster::{Cluster, Database, Setup};

/// Starts one instance.
async fn notes_on(database: Database) -> Cluster {
    Setup::new(database).product(notes::product).start().await
}
