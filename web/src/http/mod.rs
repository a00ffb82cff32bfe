//! The HTTP layer below the endpoints: connections, bodies, errors, headers, observation. It does
//! not depend on any endpoint.

pub(crate) mod body;
pub(crate) mod client_address;
pub(crate) mod cookies;
pub(crate) mod cors;
pub(crate) mod dpop;
pub(crate) mod error;
pub(crate) mod fetch_metadata;
pub(crate) mod observe;
pub(crate) mod probes;
pub(crate) mod rate_limit;
pub(crate) mod request_id;
pub(crate) mod request_info;
pub(crate) mod server;
