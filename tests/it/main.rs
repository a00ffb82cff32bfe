//! Integration tests: one binary, one module per guarantee. Each test starts its own cluster and sends raw
//! JSON over real HTTP; every message is validated against the official schema.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

/// Runs tests that take a [`Database`] on SQLite and on Postgres.
macro_rules! on_both_databases {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $name() {
                super::$name(tests::cluster::Database::Sqlite).await;
            })+
        }
        mod postgres {
            $(#[tokio::test]
            async fn $name() {
                super::$name(tests::cluster::Database::Postgres).await;
            })+
        }
    };
}

mod any_instance;
mod batches;
mod blame;
mod bounds;
mod cancellation;
mod circles;
mod corpus;
mod duplicated_headers;
mod early_responses;
mod edges;
mod endpoint;
mod fuzz;
mod jobs;
mod jobs_store;
mod limits;
mod logging;
mod notes;
mod oauth;
mod oauth_store;
mod questions;
mod redis_keys;
mod rmcp_sign_in;
mod scopes;
mod sealed_stores;
mod sessions;
mod shutdown;
mod simulation;
mod stores;
mod streams;
mod subscriptions;
mod tidy;
mod user_pages;
mod versions;
mod views;
mod world;
