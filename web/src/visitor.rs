//! Who sends a request, as far as the network tells, and whether they did so too often.

use std::net::{IpAddr, Ipv4Addr};

use http::header;
use poem::Request;
use service::{
    Service,
    oauth::{
        audit::{Parties, RequestInfo},
        limits::{self, Bucket, Verdict},
    },
};

use crate::{error::Refusal, observe::RequestId};

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

    /// That of one client within this one.
    pub(crate) fn of_client(&self, id: &str) -> Self {
        Self { key: format!("{} {id}", self.key), unlimited: self.unlimited }
    }
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

/// Whether there is anything left of a share, without taking it.
pub(crate) async fn look(service: &Service, bucket: &Bucket, of: &Share) -> Result<(), Refusal> {
    if of.unlimited {
        return Ok(());
    }
    allowed(service.limiter().peek(bucket, &of.key).await)
}

fn allowed(verdict: Verdict) -> Result<(), Refusal> {
    match verdict {
        Verdict::Allowed { .. } => Ok(()),
        Verdict::Refused { retry_after } => Err(Refusal::TooMany(retry_after)),
    }
}
