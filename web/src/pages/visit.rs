//! Rate limits of the pages of a sign-in and of the account.

use app::App;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use oauth::limits::Bucket;
use poem::{Request, Response};
use sha2::{Digest as _, Sha256};

use super::error_page;
use crate::http::{
    cookies::Cookies,
    error::ApiError,
    fetch_metadata::is_embedded,
    rate_limit::{RateLimitKey, network_and_site, take},
};

/// A request to such a page, with the rate limits that it counts against.
///
/// A request with a cookie of a sign-in or a session counts against that cookie, so that other
/// clients in the same network cannot exhaust its limit. If the cookie proves to be invalid, the
/// request is counted against the network afterwards.
pub(crate) struct PageVisit {
    app: App,
    bucket: &'static Bucket,
    network: RateLimitKey,
    /// Whether the request has a cookie that may be valid.
    has_cookies: bool,
}

impl PageVisit {
    /// Counts the request. Rejects a request of an embedding page of another site without counting
    /// it.
    pub(crate) async fn begin(
        app: &App,
        request: &Request,
        bucket: &'static Bucket,
    ) -> Result<Self, ApiError> {
        if is_embedded(request) {
            return Err(error_page::embedded());
        }
        let network = network_and_site(app, request);
        let cookies_key = cookies_key(app, request);
        let visit = Self { app: app.clone(), bucket, network, has_cookies: cookies_key.is_some() };
        match cookies_key {
            Some(key) => {
                let own = RateLimitKey { key, unlimited: visit.network.unlimited };
                take(app, bucket, &own).await?;
            }
            None => take(app, bucket, &visit.network).await?,
        }
        Ok(visit)
    }

    /// Like [`Self::finish`]; every response except a client error proves the cookies valid.
    pub(crate) async fn finish_by_response(
        self,
        response: Result<Response, ApiError>,
    ) -> Result<Response, ApiError> {
        let is_valid = !response.as_ref().is_err_and(|error| error.status.is_client_error());
        self.finish(is_valid, response).await
    }

    /// Returns `response`. If the request had cookies and none was valid, counts it against the
    /// network first, and returns the error of an exceeded limit instead.
    pub(crate) async fn finish(
        self,
        is_valid: bool,
        response: Result<Response, ApiError>,
    ) -> Result<Response, ApiError> {
        if self.has_cookies && !is_valid {
            take(&self.app, self.bucket, &self.network).await?;
        }
        response
    }
}

/// The rate limit key of the cookies in a request, if it has any of this server.
fn cookies_key(app: &App, request: &Request) -> Option<String> {
    let cookies = Cookies::new(&app.config().public_url);
    let own_cookies = cookies.all_own(request.headers());
    (!own_cookies.is_empty()).then(|| {
        let mut hash = Sha256::new();
        for (name, value) in own_cookies {
            hash.update(name);
            hash.update([0]);
            hash.update(value);
            hash.update([0]);
        }
        format!("browser {}", URL_SAFE_NO_PAD.encode(&hash.finalize()[..16]))
    })
}
