//! Who sends a request, as far as the network tells, and whether they did so too often.

use std::net::{IpAddr, Ipv4Addr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::header;
use poem::{Request, Response};
use service::{
    Service,
    oauth::{
        audit::{Parties, RequestInfo},
        limits::{self, Bucket, Verdict},
    },
};
use sha2::{Digest as _, Sha256};

use crate::{
    http::{cookies::Cookies, error::Refusal, observe::RequestId},
    pages::page::Trouble,
};

const FORWARDED_FOR: &str = "x-forwarded-for";

/// The address of the client, past as many proxies as the operator says there are.
pub(crate) fn address(service: &Service, request: &Request) -> IpAddr {
    let peer = request
        .remote_addr()
        .as_socket_addr()
        .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), std::net::SocketAddr::ip);
    let forwarded: Vec<&str> = request
        .headers()
        .get_all(FORWARDED_FOR)
        .iter()
        .flat_map(|value| value.to_str().unwrap_or_default().split(','))
        .collect();
    let hops = service.config().trusted_proxy_hops;
    limits::client_address(peer, forwarded.into_iter(), hops)
}

/// What the audit log remembers of a request.
pub(crate) fn info(service: &Service, request: &Request) -> RequestInfo {
    let id = request.data::<RequestId>().map(ToString::to_string);
    let agent = request.headers().get(header::USER_AGENT);
    RequestInfo::new(
        id.unwrap_or_default(),
        Some(address(service, request)),
        agent.and_then(|value| value.to_str().ok()),
    )
    .with_parties(parties(request))
}

/// Whom a request turns out to be about: what is said here stands in its line of the log.
pub(crate) fn parties(request: &Request) -> Parties {
    request.data::<Parties>().cloned().unwrap_or_default()
}

/// Whose share a request takes from.
pub(crate) struct Share {
    key: String,
    /// Whether it is never used up.
    unlimited: bool,
}

impl Share {
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

/// A request for a page that people see when they sign in or look at their account, and the shares
/// that it draws from.
///
/// Whoever brings the cookie of a sign-in or of a session draws from a share of that cookie, so that
/// nobody else in the network can use it up. A cookie that proves to be worth nothing is counted against
/// the network, afterwards.
pub(crate) struct PageVisit {
    service: Service,
    bucket: &'static Bucket,
    network: Share,
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
    ) -> Result<Self, Trouble> {
        if is_embedded(request) {
            return Err(Trouble::embedded());
        }
        let network = network_and_site(service, request);
        let claimed = claimed_cookies(service, request);
        let visit = Self { service: service.clone(), bucket, network, claims: claimed.is_some() };
        match claimed {
            Some(key) => {
                let own = Share { key, unlimited: visit.network.unlimited };
                take(service, bucket, &own).await?;
            }
            None => take(service, bucket, &visit.network).await?,
        }
        Ok(visit)
    }

    /// Like [`Self::settle`], where every answer but a client error proves the cookies.
    pub(crate) async fn settle_by_answer(
        self,
        answer: Result<Response, Trouble>,
    ) -> Result<Response, Trouble> {
        let is_proven = !answer.as_ref().is_err_and(Trouble::is_of_the_visitor);
        self.settle(is_proven, answer).await
    }

    /// Passes the answer on if the cookie was worth something, or if the network has not made too many
    /// requests with cookies that were not.
    pub(crate) async fn settle(
        self,
        is_proven: bool,
        answer: Result<Response, Trouble>,
    ) -> Result<Response, Trouble> {
        if self.claims && !is_proven {
            take(&self.service, self.bucket, &self.network).await?;
        }
        answer
    }
}

/// The share of the network that a request comes from, apart for requests from other sites.
pub(crate) fn network_and_site(service: &Service, request: &Request) -> Share {
    let network = network(service, request);
    if is_from_another_site(request) { network.of_other_sites() } else { network }
}

/// Whether a page of another site made the browser send the request by itself, as an image, in a frame or
/// by a script, instead of opening it for the person (Fetch Metadata). Never of a client that is no
/// browser, which sends no such header.
pub(crate) fn is_embedded(request: &Request) -> bool {
    let opens = matches!(fetch_metadata(request, "sec-fetch-mode"), None | Some("navigate"))
        && matches!(fetch_metadata(request, "sec-fetch-dest"), None | Some("document"));
    is_from_another_site(request) && !opens
}

/// Whether a browser says that a page of another site caused the request (Fetch Metadata).
fn is_from_another_site(request: &Request) -> bool {
    matches!(fetch_metadata(request, "sec-fetch-site"), Some("cross-site" | "same-site"))
}

fn fetch_metadata<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    request.headers().get(name)?.to_str().ok()
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

/// The share of the network that a request comes from.
pub(crate) fn network(service: &Service, request: &Request) -> Share {
    let address = address(service, request);
    let unlimited = &service.config().unlimited_networks;
    Share {
        key: limits::network(address),
        unlimited: unlimited.iter().any(|it| it.contains(&address.to_canonical())),
    }
}

/// The port that a request came to.
pub(crate) fn local_port(request: &Request) -> u16 {
    let address = request.local_addr().as_socket_addr();
    address.map_or(0, std::net::SocketAddr::port)
}

/// Takes one from a share, or says when there will be one again.
pub(crate) async fn take(service: &Service, bucket: &Bucket, of: &Share) -> Result<(), Refusal> {
    if of.unlimited {
        return Ok(());
    }
    allowed(service.limiter().check(bucket, &of.key).await)
}

fn allowed(verdict: Verdict) -> Result<(), Refusal> {
    match verdict {
        Verdict::Allowed { .. } => Ok(()),
        Verdict::Refused { retry_after } => Err(Refusal::TooMany(retry_after)),
    }
}
