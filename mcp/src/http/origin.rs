//! Protection against DNS rebinding and cross-site requests.
//!
//! A page in a browser can send requests to a server on loopback, and by pointing its own domain at
//! the address of the server (DNS rebinding) it can read the responses. Such requests are recognized
//! by their `Host` and `Origin` headers.

use std::net::{Ipv4Addr, Ipv6Addr};

use http::{HeaderMap, HeaderValue, Uri, header, uri::Authority};

/// The addresses of this server, and the origins of pages that may call it.
#[derive(Debug)]
pub struct OriginPolicy {
    public: Origin,
    /// The server is reachable from this machine only, so every loopback name is accepted.
    on_loopback: bool,
    allowed: Vec<Origin>,
}

impl OriginPolicy {
    /// Creates a policy. `public`: the origin under which clients reach the server, such as
    /// `https://example.com`. `allowed`: origins of other pages that may call it.
    pub fn new<S: AsRef<str>>(public: &str, allowed: &[S]) -> Result<Self, NotAnOrigin> {
        let origin = |text: &str| Origin::parse(text).ok_or_else(|| NotAnOrigin(text.to_owned()));
        let public = origin(public)?;
        Ok(Self {
            on_loopback: public.is_on_this_machine(),
            public,
            allowed: allowed.iter().map(|text| origin(text.as_ref())).collect::<Result<_, _>>()?,
        })
    }

    /// Checks `Host` and `Origin` of a request that arrived on `local_port` (`None`: unknown).
    /// Returns the `Origin` if the request has one.
    pub fn check(
        &self,
        uri: &Uri,
        headers: &HeaderMap,
        local_port: Option<u16>,
    ) -> Result<Option<HeaderValue>, ForeignRequest> {
        self.check_host(uri, headers, local_port)?;
        let Some(value) = single(headers, header::ORIGIN.as_str()).ok_or(ForeignRequest::Origin)?
        else {
            return Ok(None);
        };
        let origin = value.to_str().ok().and_then(Origin::parse).ok_or(ForeignRequest::Origin)?;
        if self.is_own(&origin, local_port) || self.allowed.contains(&origin) {
            Ok(Some(value.clone()))
        } else {
            Err(ForeignRequest::Origin)
        }
    }

    /// Checks `Host` only, for endpoints that are open to all origins.
    pub fn check_host(
        &self,
        uri: &Uri,
        headers: &HeaderMap,
        local_port: Option<u16>,
    ) -> Result<(), ForeignRequest> {
        // RFC 9112 section 3.2.
        let host = single(headers, header::HOST.as_str()).ok_or(ForeignRequest::DuplicatedHost)?;
        let host =
            host.and_then(|value| value.to_str().ok()?.parse().ok()).ok_or(ForeignRequest::Host)?;
        // The request line may name a host as well; then both must match.
        for authority in [Some(&host), uri.authority()].into_iter().flatten() {
            let Some(address) = Origin::of(&self.public.scheme, authority) else {
                return Err(ForeignRequest::Host);
            };
            if !self.is_own(&address, local_port) {
                return Err(ForeignRequest::Host);
            }
        }
        Ok(())
    }

    /// Whether `address` is the public address or, if that is on loopback, any loopback name with
    /// the public port or with `local_port`.
    fn is_own(&self, address: &Origin, local_port: Option<u16>) -> bool {
        *address == self.public
            || (self.on_loopback
                && address.is_loopback()
                && address.scheme == self.public.scheme
                && (address.port == self.public.port || Some(address.port) == local_port))
    }
}

/// Why a request is not meant for this server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForeignRequest {
    /// The `Host` is not an address of this server: possibly DNS rebinding. Respond with 421.
    #[error("foreign host")]
    Host,
    /// The request has several `Host` headers. Respond with 400.
    #[error("duplicated header Host")]
    DuplicatedHost,
    /// The `Origin` is not allowed. Respond with 403.
    #[error("foreign origin")]
    Origin,
}

/// The error of a text that is not an origin. `https://example.com` is an example of an origin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an origin")]
pub struct NotAnOrigin(String);

/// The value of a header that may occur once. `None`: it occurs more than once. `Some(None)`: it is
/// absent.
#[expect(clippy::option_option, reason = "absent and duplicated are different")]
fn single<'a>(headers: &'a HeaderMap, name: &str) -> Option<Option<&'a HeaderValue>> {
    let mut values = headers.get_all(name).iter();
    let value = values.next();
    values.next().is_none().then_some(value)
}

/// Scheme, host and port, normalized for comparison.
#[derive(Debug, PartialEq, Eq)]
struct Origin {
    scheme: String,
    host: String,
    port: u16,
}

impl Origin {
    /// Parses `scheme://host[:port]`. `None` for a path, user info, the opaque origin `null`, and
    /// schemes other than http and https.
    fn parse(text: &str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        Self::of(&scheme.to_ascii_lowercase(), &authority.parse().ok()?)
    }

    fn of(scheme: &str, authority: &Authority) -> Option<Self> {
        let default_port = match scheme {
            "http" => 80,
            "https" => 443,
            _ => return None,
        };
        let text = authority.as_str();
        let host = authority.host().to_ascii_lowercase();
        if host.is_empty() || text.contains('@') {
            return None;
        }
        let port = match text[authority.host().len()..].strip_prefix(':') {
            Some(port) => port.parse().ok()?,
            None => default_port,
        };
        Some(Self { scheme: scheme.to_owned(), host, port })
    }

    /// Whether this is one of the names under which clients address a server on loopback.
    fn is_loopback(&self) -> bool {
        self.host == "localhost"
            || self.host == "127.0.0.1"
            || self.ipv6() == Some(Ipv6Addr::LOCALHOST)
    }

    /// Whether only this machine can reach a server with this address.
    fn is_on_this_machine(&self) -> bool {
        self.is_loopback()
            || self.host.ends_with(".localhost")
            || self.host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
    }

    fn ipv6(&self) -> Option<Ipv6Addr> {
        self.host.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The local port of the requests in these tests.
    const LOCAL_PORT: u16 = 8080;

    fn check(public_url: &str, host: &[&str], origin: &[&str]) -> Result<bool, &'static str> {
        let policy = OriginPolicy::new(public_url, &["https://App.example:8443"]).unwrap();
        let mut headers = HeaderMap::new();
        for value in host {
            headers.append(header::HOST, value.parse().unwrap());
        }
        for value in origin {
            headers.append(header::ORIGIN, value.parse().unwrap());
        }
        match policy.check(&Uri::from_static("/mcp"), &headers, Some(LOCAL_PORT)) {
            Ok(origin) => Ok(origin.is_some()),
            Err(ForeignRequest::Host) => Err("host"),
            Err(ForeignRequest::DuplicatedHost) => Err("two hosts"),
            Err(ForeignRequest::Origin) => Err("origin"),
        }
    }

    #[test]
    fn on_loopback_only_loopback_names_are_accepted() {
        for public_url in ["http://127.0.0.1:8080", "http://localhost:9000", "http://[::1]:80"] {
            for host in ["localhost", "127.0.0.1", "[::1]", "LOCALHOST", "[0:0::1]"] {
                let address = format!("{host}:{LOCAL_PORT}");
                assert_eq!(check(public_url, &[&address], &[]), Ok(false), "{host}");
                let origin = format!("http://{address}");
                assert_eq!(check(public_url, &[&address], &[&origin]), Ok(true));
            }
            for host in [
                "evil.example",
                "evil.example:8080",
                "localhost:9999",
                "localhost.evil.example:8080",
                "localhost.:8080",
                "127.0.0.2:8080",
                "127.1:8080",
                "user@localhost:8080",
                "[::ffff:127.0.0.1]:8080",
                "localhost:80800",
                "localhost:",
                "",
            ] {
                assert_eq!(check(public_url, &[host], &[]), Err("host"), "{host}");
            }
        }
    }

    #[test]
    fn a_public_server_accepts_only_its_public_name() {
        let public = "https://notes.example";
        for (host, expected) in [
            ("notes.example", Ok(false)),
            ("Notes.Example:443", Ok(false)),
            ("notes.example:8080", Err("host")),
            ("localhost:8080", Err("host")),
            ("127.0.0.1:8080", Err("host")),
        ] {
            assert_eq!(check(public, &[host], &[]), expected, "{host}");
        }
    }

    #[test]
    fn an_origin_must_be_that_of_the_server_or_allowed() {
        let public = "https://notes.example";
        for (origin, expected) in [
            ("https://notes.example", Ok(true)),
            ("https://notes.example:443", Ok(true)),
            ("https://app.example:8443", Ok(true)),
            ("https://app.example", Err("origin")),
            ("http://notes.example", Err("origin")),
            ("http://localhost:8080", Err("origin")),
            ("https://notes.example.evil.example", Err("origin")),
            ("https://notes.example/path", Err("origin")),
            ("null", Err("origin")),
            ("", Err("origin")),
            ("file://", Err("origin")),
            ("chrome-extension://abcdef", Err("origin")),
        ] {
            let got = check(public, &["notes.example"], &[origin]);
            assert_eq!(got, expected, "{origin}");
        }
    }

    #[test]
    fn missing_hosts_and_duplicated_headers_are_rejected() {
        let public = "http://localhost:8080";
        let own = "localhost:8080";
        assert_eq!(check(public, &[], &[]), Err("host"));
        assert_eq!(check(public, &[own, own], &[]), Err("two hosts"));
        assert_eq!(check(public, &[own, "evil.example"], &[]), Err("two hosts"));
        let origin = "http://localhost:8080";
        assert_eq!(check(public, &[own], &[origin, origin]), Err("origin"));
    }

    #[test]
    fn a_host_in_the_request_line_is_checked_too() {
        let policy = OriginPolicy::new::<&str>("http://localhost:8080", &[]).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, "localhost:8080".parse().unwrap());
        let evil = Uri::from_static("http://evil.example/mcp");
        assert!(policy.check(&evil, &headers, Some(LOCAL_PORT)).is_err());
        let own = Uri::from_static("http://localhost:8080/mcp");
        assert!(policy.check(&own, &headers, Some(LOCAL_PORT)).is_ok());
    }
}
