//! Whether a client made too many requests of a kind.

use poem::Request;
use service::{
    Service,
    oauth::limits::{self, Bucket, Verdict},
};

use super::{client_address::address, error::ApiError, fetch_metadata::is_from_another_site};

/// Whose share a request takes from.
pub(crate) struct RateLimitKey {
    pub(crate) key: String,
    /// Whether it is never used up.
    pub(crate) unlimited: bool,
}

impl RateLimitKey {
    /// That of everybody together.
    pub(crate) fn of_everybody() -> Self {
        Self { key: "all".to_owned(), unlimited: false }
    }

    /// That of requests which pages of other sites make, within this one: a page that makes a browser
    /// send many of them uses up nothing else.
    fn of_other_sites(self) -> Self {
        Self { key: format!("{} cross-site", self.key), ..self }
    }
}

/// The share of the network that a request comes from, apart for requests from other sites.
pub(crate) fn network_and_site(service: &Service, request: &Request) -> RateLimitKey {
    let network = network(service, request);
    if is_from_another_site(request) { network.of_other_sites() } else { network }
}

/// The share of the network that a request comes from.
pub(crate) fn network(service: &Service, request: &Request) -> RateLimitKey {
    let address = address(service, request);
    let unlimited = &service.config().unlimited_networks;
    RateLimitKey {
        key: limits::network(address),
        unlimited: unlimited.iter().any(|it| it.contains(&address.to_canonical())),
    }
}

/// Takes one from a share, or says when there will be one again.
pub(crate) async fn take(
    service: &Service,
    bucket: &Bucket,
    of: &RateLimitKey,
) -> Result<(), ApiError> {
    if of.unlimited {
        return Ok(());
    }
    allowed(service.limiter().check(bucket, &of.key).await)
}

fn allowed(verdict: Verdict) -> Result<(), ApiError> {
    match verdict {
        Verdict::Allowed { .. } => Ok(()),
        Verdict::Refused { retry_after } => Err(ApiError::TooManyRequests(retry_after)),
    }
}
