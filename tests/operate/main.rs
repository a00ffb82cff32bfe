//! What somebody who operates the product relies on: metrics, dashboards, alerts, deployment files.
//!
//! One binary of its own, because metrics are counted once for a process.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod dashboards;
mod deploy;
mod prometheus;
mod queries;
mod schema;
mod series;
mod stage;

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
