//! Crashes and outages of real processes, servers, networks and disks. Each test causes one fault and checks
//! what a client of each era is shown during it, that nothing acknowledged is lost or doubled, and that
//! everything works afterwards without a restart of the program.
//!
//! The table "When a dependency is unavailable" in `docs/runbook.md` has one row for each fault. Linux only:
//! the tests read `/proc`, mount file systems and preload libraries.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod clock;
mod descriptors;
mod disk;
mod load;
mod memory;
mod network;
mod postgres;
mod redis;
mod replica;
mod shown;
mod stopped;
mod workers;

use std::time::Duration;

use serde_json::{Value, json};
use tests::{client::Modern, schema::Revision};

const REVISION: Revision = Revision::November2025;

/// The text for a client whose job runs again.
const RESTARTED: &str = "The worker stopped; the job was started again (attempt 2).";

/// The arguments of `items_create`.
fn item(title: &str) -> Value {
    json!({ "title": title, "body": "Written during a fault." })
}

/// Polls a task until it has ended, and returns it.
async fn ended(client: &Modern, task: &Value) -> Value {
    tests::eventually("the task ends", async || {
        let answer = client.call("tasks/get", json!({ "taskId": task })).await;
        let found = answer.message.get("result")?;
        let ended = ["completed", "failed", "cancelled"].map(Value::from);
        ended.contains(&found["status"]).then(|| found.clone())
    })
    .await
}

/// Lets a fault last.
#[expect(clippy::disallowed_methods, reason = "the duration of a fault is part of the test")]
async fn lasts(time: Duration) {
    tokio::time::sleep(time).await;
}
