//! What the tests are made of: a private PostgreSQL, a cluster of web instances in this process, a
//! client that speaks raw JSON, and the official schemas that every message is held against.
//!
//! Nothing here ships. The integration tests are in `tests/it`, the programs that other test suites
//! talk to in `tests/src/bin`.

pub mod browser;
pub mod chaos;
pub mod client;
pub mod cluster;
pub mod documents;
mod eventually;
pub mod fixtures;
pub mod github;
mod idle;
pub mod model;
pub mod postgres;
pub mod processes;
pub mod redis;
pub mod relay;
pub mod schema;
pub mod store_suite;
pub mod strangers;
pub mod wire;

pub use eventually::{PATIENCE, eventually, in_time};
pub use idle::Idle;
