//! IP addresses that must not be fetched on behalf of a client: everything that is not globally
//! reachable according to IANA's special-purpose registries (IPv4 and IPv6, as of 2026-11-01), and
//! multicast.
//!
//! An address that embeds another one is judged by the embedded address where the registry lists
//! the outer one as global (NAT64). The embeddings that have no use on today's internet
//! (IPv4-mapped and -compatible, 6to4, Teredo) are refused.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

/// The date on which the tables were compared with the registries.
pub const AS_OF: &str = "2026-11-01";

/// IPv4 blocks that are not globally reachable: network, prefix length, meaning.
const IPV4: [(Ipv4Addr, u32, &str); 18] = [
    (Ipv4Addr::UNSPECIFIED, 8, "this network"),
    (Ipv4Addr::new(10, 0, 0, 0), 8, "private use"),
    (Ipv4Addr::new(100, 64, 0, 0), 10, "shared address space"),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "loopback"),
    (Ipv4Addr::new(169, 254, 0, 0), 16, "link local"),
    (Ipv4Addr::new(172, 16, 0, 0), 12, "private use"),
    (Ipv4Addr::new(192, 0, 0, 0), 24, "protocol assignments"),
    (Ipv4Addr::new(192, 0, 2, 0), 24, "documentation"),
    (Ipv4Addr::new(192, 31, 196, 0), 24, "AS112"),
    (Ipv4Addr::new(192, 52, 193, 0), 24, "AMT"),
    (Ipv4Addr::new(192, 88, 99, 0), 24, "6to4 relay"),
    (Ipv4Addr::new(192, 168, 0, 0), 16, "private use"),
    (Ipv4Addr::new(192, 175, 48, 0), 24, "AS112"),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "benchmarking"),
    (Ipv4Addr::new(198, 51, 100, 0), 24, "documentation"),
    (Ipv4Addr::new(203, 0, 113, 0), 24, "documentation"),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "multicast"),
    (Ipv4Addr::new(240, 0, 0, 0), 4, "reserved"),
];

/// The only part of IPv6 that is allocated for use on the internet. Addresses outside of it are
/// refused.
const GLOBAL_UNICAST: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// Blocks inside [`GLOBAL_UNICAST`] that are not for ordinary hosts.
const IPV6: [(Ipv6Addr, u32, &str); 6] = [
    // Contains Teredo (2001::/32), benchmarking, ORCHID and others.
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, "protocol assignments"),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, "documentation"),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, "6to4"),
    (Ipv6Addr::new(0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0), 48, "AS112"),
    (Ipv6Addr::new(0x3ffe, 0, 0, 0, 0, 0, 0, 0), 16, "6bone"),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, "documentation"),
];

/// The well-known prefix of NAT64 (RFC 6052), which networks without IPv4 prepend to every public
/// IPv4 address.
const NAT64: (Ipv6Addr, u32) = (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

/// Returns why an address is not public, such as `loopback`. `None`: it is globally reachable.
pub fn meaning(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => IPV4
            .iter()
            .find(|(network, prefix, _)| within_v4(address, *network, *prefix))
            .map(|(_, _, meaning)| *meaning),
        IpAddr::V6(address) if within_v6(address, NAT64.0, NAT64.1) => {
            let [.., a, b, c, d] = address.octets();
            meaning(IpAddr::from([a, b, c, d]))
        }
        IpAddr::V6(address) if !within_v6(address, GLOBAL_UNICAST.0, GLOBAL_UNICAST.1) => {
            Some("outside of the global unicast space")
        }
        IpAddr::V6(address) => IPV6
            .iter()
            .find(|(network, prefix, _)| within_v6(address, *network, *prefix))
            .map(|(_, _, meaning)| *meaning),
    }
}

fn within_v4(address: Ipv4Addr, network: Ipv4Addr, prefix: u32) -> bool {
    (address.to_bits() ^ network.to_bits()) >> (Ipv4Addr::BITS - prefix) == 0
}

fn within_v6(address: Ipv6Addr, network: Ipv6Addr, prefix: u32) -> bool {
    (address.to_bits() ^ network.to_bits()) >> (Ipv6Addr::BITS - prefix) == 0
}

/// Returns the host of a URL if it is a registrable name and `authority` spells it as the URL
/// parser does. `None`: it is an IP address, a single label, or a name of a local network.
pub fn public_host(text: &str, authority: &str) -> Option<String> {
    let url = Url::parse(text).ok()?;
    let Some(Host::Domain(name)) = url.host() else {
        return None;
    };
    let public = name == authority
        && !name.ends_with('.')
        && !name.split('.').any(str::is_empty)
        && psl::domain(name.as_bytes()).is_some()
        && !["localhost", "local", "internal", "home.arpa"]
            .iter()
            .any(|it| name.strip_suffix(it).is_some_and(|rest| rest.ends_with('.')));
    public.then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is_special(address: &str) -> bool {
        meaning(address.parse().expect("an address")).is_some()
    }

    #[test]
    fn non_public_addresses_have_a_meaning() {
        for special in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "10.255.255.255",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::a00:1",
            "::ffff:10.0.0.1",
            "::ffff:93.184.216.34",
            "::ffff:0:10.0.0.1",
            "64:ff9b::a00:1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::a00:1",
            "100::1",
            "2001::1",
            "2001:0:5ef5:79fd::1",
            "2001:2::1",
            "2001:10::1",
            "2001:20::1",
            "2001:1ff::1",
            "2001:db8::1",
            "2002:a00:1::",
            "2002:5db8:d822::1",
            "3ffe::1",
            "3fff::1",
            "4000::1",
            "5f00::1",
            "fc00::1",
            "fd12:3456::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(is_special(special), "{special}");
        }
    }

    #[test]
    fn public_addresses_have_no_meaning() {
        for ordinary in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "93.184.216.34",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.0.3.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2000::1",
            "2001:200::1",
            "2001:4860:4860::8888",
            "2003::1",
            "2606:4700::1111",
            "2a00:1450::1",
            "3ffd::1",
            "64:ff9b::5db8:d822",
        ] {
            assert!(!is_special(ordinary), "{ordinary}");
        }
    }

    proptest! {
        #[test]
        fn at_least_as_strict_as_the_standard_library(bits: u32) {
            let address = Ipv4Addr::from_bits(bits);
            let inside = address.is_private()
                || address.is_loopback()
                || address.is_link_local()
                || address.is_multicast()
                || address.is_broadcast()
                || address.is_documentation()
                || address.is_unspecified();
            prop_assert!(!inside || meaning(address.into()).is_some());
        }

        #[test]
        fn embedding_never_makes_an_address_public(inner: u32) {
            let inner = Ipv4Addr::from_bits(inner);
            let [a, b, c, d] = inner.octets();
            let pair = |one, two| u16::from_be_bytes([one, two]);
            let (high, low) = (pair(a, b), pair(c, d));
            prop_assert!(meaning(inner.to_ipv6_mapped().into()).is_some());
            prop_assert!(meaning(Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1).into()).is_some());
            prop_assert!(meaning(Ipv6Addr::new(0x2001, 0, high, low, 0, 0, 0, 1).into()).is_some());
            let nat64 = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low);
            prop_assert_eq!(meaning(nat64.into()), meaning(inner.into()));
        }
    }
}
