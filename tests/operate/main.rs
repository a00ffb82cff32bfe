//! What somebody who operates the product relies on: metrics, dashboards, alerts, deployment files.
//!
//! One binary of its own, because metrics are counted once for a process.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod alertmanager;
mod collector;
mod commands;
mod dashboards;
mod deploy;
mod expand;
mod failures;
mod follow;
mod logs;
mod pgbouncer;
mod prometheus;
mod queries;
mod rights;
mod schema;
mod series;
mod settings;
mod stage;
mod traces;
mod watchlist;

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
