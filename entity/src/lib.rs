//! The rows of the database: one module per table, a newtype for each kind of id, and queries that
//! begin with the owner. No business rules: the crates that use a row decide what may be done with
//! it.

pub mod access_cutoffs;
pub mod download_chunks;
pub mod downloads;
pub mod ids;
pub mod job_totals;
pub mod jobs;
pub mod login_pins;
pub mod oauth_audit;
pub mod oauth_calls;
pub mod oauth_clients;
pub mod oauth_codes;
pub mod oauth_grants;
pub mod oauth_refresh_tokens;
pub mod oauth_service_clients;
pub mod oauth_signing_keys;
pub mod schedule_runs;
pub mod upstream_tokens;
pub mod users;

pub use ids::{AuditId, ClientId, Digest, DownloadId, GrantId, Kid};
