//! Settings of the HTTP server.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use super::{
    parse::{address, networks, number, origins},
    reader::Reader,
    types::Mode,
    variables::{
        ALLOWED_ORIGINS, HOST, PORT, RATE_LIMIT_PER_MINUTE, TRUSTED_PROXY_HOPS, UNLIMITED_NETWORKS,
    },
};

/// Settings of the HTTP server.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// `HOST`: the address to listen on.
    pub host: IpAddr,
    /// `PORT`: the port to listen on.
    pub port: u16,
    /// `ALLOWED_ORIGINS`: origins in serialized form, such as `https://app.example.com`.
    pub allowed_origins: Vec<String>,
    /// `TRUSTED_PROXY_HOPS`: the number of trusted proxies in front of the server.
    pub trusted_proxy_hops: u8,
    /// `RATE_LIMIT_PER_MINUTE`: the number of calls per user and minute; 0 means no limit.
    pub rate_limit_per_minute: u32,
    /// `UNLIMITED_NETWORKS`: networks that are exempt from the rate limits of unauthenticated
    /// requests.
    pub unlimited_networks: Vec<IpNet>,
}

/// Reads `PORT`. Separate, because the default of `PUBLIC_URL` uses it.
pub(super) fn port(reader: &mut Reader<'_>) -> u16 {
    reader.parse(PORT, |text| number(text, 1, u16::MAX)).unwrap_or(8080)
}

impl HttpConfig {
    pub(super) fn read(reader: &mut Reader<'_>, port: u16, mode: Mode) -> Self {
        Self {
            host: reader.parse(HOST, address).unwrap_or(match mode {
                Mode::Embedded => Ipv4Addr::LOCALHOST.into(),
                Mode::Deployed => Ipv4Addr::UNSPECIFIED.into(),
            }),
            port,
            allowed_origins: reader.parse(ALLOWED_ORIGINS, origins).unwrap_or_default(),
            trusted_proxy_hops: reader
                .parse(TRUSTED_PROXY_HOPS, |text| number(text, 0, 10))
                .unwrap_or(match mode {
                    Mode::Embedded => 0,
                    // A deployed program is served over https, which a proxy in front of it terminates.
                    Mode::Deployed => 1,
                }),
            rate_limit_per_minute: reader
                .parse(RATE_LIMIT_PER_MINUTE, |text| number(text, 0, 100_000))
                .unwrap_or(120),
            unlimited_networks: reader.parse(UNLIMITED_NETWORKS, networks).unwrap_or_default(),
        }
    }
}
