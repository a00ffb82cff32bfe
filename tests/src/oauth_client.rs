//! A client and a request for tests and benchmarks that call the store of `oauth` without HTTP.

use oauth::{
    audit::RequestInfo,
    client::{Authentication, Client, ClientId, ClientKind},
    display_name::DisplayName,
};

/// A public client that may refresh.
pub fn public_client(id: &str) -> Client {
    Client {
        id: ClientId(id.to_owned()),
        kind: ClientKind::Dynamic,
        name: DisplayName::sanitize("An app"),
        redirect_uris: Vec::new(),
        scope: None,
        authentication: Authentication::None,
        may_refresh: true,
        dpop_bound: false,
        metadata_hash: [0; 32],
    }
}

/// What is recorded about a request.
pub fn request() -> RequestInfo {
    RequestInfo::new("a-request", Some([203, 0, 113, 7].into()), Some("a program"))
}
