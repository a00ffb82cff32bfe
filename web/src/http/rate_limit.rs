//! Rate limits of requests that are not authenticated.

use app::App;
use oauth::limits::{Bucket, Verdict};
use platform::client_network;
use poem::Request;

use super::{client_address::address, error::ApiError, fetch_metadata::is_from_another_site};

/// The key under which requests are counted.
pub(crate) struct RateLimitKey {
    pub(crate) key: String,
    /// Whether the limit does not apply (`UNLIMITED_NETWORKS`).
    pub(crate) unlimited: bool,
}

impl RateLimitKey {
    /// Returns the key of a limit for all clients together.
    pub(crate) fn for_everyone() -> Self {
        Self { key: "all".to_owned(), unlimited: false }
    }

    /// Returns the key for requests from this network that pages of other sites cause. It is
    /// separate, so that such a page, if it makes a browser send many requests, does not exhaust
    /// the other limit.
    fn for_other_sites(self) -> Self {
        Self { key: format!("{} cross-site", self.key), ..self }
    }
}

/// Returns the key of the client's network, or a separate one if a page of another site caused the
/// request.
pub(crate) fn network_and_site(app: &App, request: &Request) -> RateLimitKey {
    let network = network(app, request);
    if is_from_another_site(request) { network.for_other_sites() } else { network }
}

/// Returns the key of the client's network.
pub(crate) fn network(app: &App, request: &Request) -> RateLimitKey {
    let address = address(app, request);
    let unlimited = &app.config().http.unlimited_networks;
    RateLimitKey {
        key: client_network(address),
        unlimited: unlimited.iter().any(|network| network.contains(&address.to_canonical())),
    }
}

/// Counts one request. Fails with [`ApiError::too_many_requests`] if the limit is exceeded.
pub(crate) async fn take(app: &App, bucket: &Bucket, key: &RateLimitKey) -> Result<(), ApiError> {
    if key.unlimited {
        return Ok(());
    }
    allowed(app.oauth().limiter().check(bucket, &key.key).await)
}

fn allowed(verdict: Verdict) -> Result<(), ApiError> {
    match verdict {
        Verdict::Allowed { .. } => Ok(()),
        Verdict::Refused { retry_after } => Err(ApiError::too_many_requests(retry_after)),
    }
}
