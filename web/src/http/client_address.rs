//! The addresses of a request: the client's, and the local port.

use std::net::{IpAddr, Ipv4Addr};

use app::App;
use oauth::limits;
use poem::Request;

const FORWARDED_FOR: &str = "x-forwarded-for";

/// The address of the client: the entry of `X-Forwarded-For` that the outermost trusted proxy
/// added, according to `TRUSTED_PROXY_HOPS`, or the address of the peer.
pub(crate) fn address(app: &App, request: &Request) -> IpAddr {
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
    let hops = app.config().http.trusted_proxy_hops;
    limits::client_address(peer, forwarded.into_iter(), hops)
}

/// The local port on which the request arrived; 0 if unknown.
pub(crate) fn local_port(request: &Request) -> u16 {
    let address = request.local_addr().as_socket_addr();
    address.map_or(0, std::net::SocketAddr::port)
}
