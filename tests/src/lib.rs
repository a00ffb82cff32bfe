//! Test support: private PostgreSQL and Redis servers, clusters of web instances in this process,
//! clients that speak raw JSON, and the official schemas against which every message is validated.
//!
//! None of it ships. The integration tests are in `tests/it` and `tests/operate`; the programs that
//! other test suites connect to are in `tests/src/tools`.

pub mod browser;
pub mod chaos;
pub mod client;
pub mod cluster;
pub mod documents;
pub mod dpop;
mod eventually;
pub mod fake_endpoint;
pub mod fixtures;
pub mod fuzzing;
pub mod github;
mod idle;
pub mod model;
pub mod oauth_client;
pub mod oauth_suite;
pub mod openid;
pub mod postgres;
pub mod processes;
pub mod redis;
pub mod relay;
pub mod schema;
pub mod signing_key;
pub mod soak;
pub mod sqlite;
pub mod store_suite;
pub mod strangers;
mod tokens;
mod unfinished_jobs;
pub mod wire;
pub mod work_queue_suite;

pub use eventually::{PATIENCE, eventually, in_time};
pub use idle::Idle;
