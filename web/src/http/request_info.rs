//! What the audit log and the log of requests hold of a request.

use http::header;
use poem::Request;
use service::{
    Service,
    oauth::audit::{Parties, RequestInfo},
};

use super::{client_address::address, request_id::RequestId};

/// What the audit log remembers of a request.
pub(crate) fn request_info(service: &Service, request: &Request) -> RequestInfo {
    let id = request.data::<RequestId>().map(ToString::to_string);
    let agent = request.headers().get(header::USER_AGENT);
    RequestInfo::new(
        id.unwrap_or_default(),
        Some(address(service, request)),
        agent.and_then(|value| value.to_str().ok()),
    )
    .with_parties(log_context(request))
}

/// Whom a request turns out to be about: what is said here stands in its line of the log.
pub(crate) fn log_context(request: &Request) -> Parties {
    request.data::<Parties>().cloned().unwrap_or_default()
}
