//! What a row is: one module per table, an id newtype for each kind of id, and finders that begin
//! with the owner. No rules live here; what may be done with a row is decided in the crates
//! that use it.

pub mod access_cutoffs;
pub mod download_chunks;
pub mod downloads;
pub mod ids;
pub mod job_totals;
pub mod jobs;
pub mod login_pins;
pub mod oauth_audit;
pub mod oauth_clients;
pub mod oauth_codes;
pub mod oauth_grants;
pub mod oauth_refresh_tokens;
pub mod oauth_signing_keys;
pub mod schedule_runs;
pub mod upstream_tokens;
pub mod users;

pub use ids::{AuditId, ClientId, Digest, DownloadId, GrantId, Kid};
