//! Rate limits of pages: each sign-in and each signed-in person has a share of its own.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use poem::{Request, Response};
use service::{Service, oauth::limits::Bucket};
use sha2::{Digest as _, Sha256};

use super::error_page::ErrorPage;
use crate::http::{
    cookies::Cookies,
    fetch_metadata::is_embedded,
    rate_limit::{RateLimitKey, network_and_site, take},
};

/// A request for a page that people see when they sign in or look at their account, and the shares
/// that it draws from.
///
/// Whoever brings the cookie of a sign-in or of a session draws from a share of that cookie, so that
/// nobody else in the network can use it up. A cookie that proves to be worth nothing is counted against
/// the network, afterwards.
pub(crate) struct PageVisit {
    service: Service,
    bucket: &'static Bucket,
    network: RateLimitKey,
    /// Whether the request brings a cookie that may be worth something.
    claims: bool,
}

impl PageVisit {
    /// Takes one from the share of the request. Refuses what a page of another site has embedded,
    /// without counting it.
    pub(crate) async fn begin(
        service: &Service,
        request: &Request,
        bucket: &'static Bucket,
    ) -> Result<Self, ErrorPage> {
        if is_embedded(request) {
            return Err(ErrorPage::embedded());
        }
        let network = network_and_site(service, request);
        let claimed = claimed_cookies(service, request);
        let visit = Self { service: service.clone(), bucket, network, claims: claimed.is_some() };
        match claimed {
            Some(key) => {
                let own = RateLimitKey { key, unlimited: visit.network.unlimited };
                take(service, bucket, &own).await?;
            }
            None => take(service, bucket, &visit.network).await?,
        }
        Ok(visit)
    }

    /// Like [`Self::settle`], where every answer but a client error proves the cookies.
    pub(crate) async fn settle_by_answer(
        self,
        answer: Result<Response, ErrorPage>,
    ) -> Result<Response, ErrorPage> {
        let is_proven = !answer.as_ref().is_err_and(ErrorPage::is_client_error);
        self.settle(is_proven, answer).await
    }

    /// Passes the answer on if the cookie was worth something, or if the network has not made too many
    /// requests with cookies that were not.
    pub(crate) async fn settle(
        self,
        is_proven: bool,
        answer: Result<Response, ErrorPage>,
    ) -> Result<Response, ErrorPage> {
        if self.claims && !is_proven {
            take(&self.service, self.bucket, &self.network).await?;
        }
        answer
    }
}

/// A key for the cookies of this server in a request, if there are any.
fn claimed_cookies(service: &Service, request: &Request) -> Option<String> {
    let cookies = Cookies::of(&service.config().public_url);
    let ours = cookies.all_ours(request.headers());
    (!ours.is_empty()).then(|| {
        let mut hash = Sha256::new();
        for (name, value) in ours {
            hash.update(name);
            hash.update([0]);
            hash.update(value);
            hash.update([0]);
        }
        format!("browser {}", URL_SAFE_NO_PAD.encode(&hash.finalize()[..16]))
    })
}
