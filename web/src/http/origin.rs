//! Which addresses and which web pages may reach `/mcp`.
//!
//! A page that a browser opened elsewhere can send requests to a server on loopback, and by giving
//! its own name our address (DNS rebinding) it can even read the answers. Its `Host` and `Origin`
//! headers give it away.

use std::net::Ipv6Addr;

use http::{HeaderMap, HeaderValue, Uri, header, uri::Authority};

use service::config::PublicUrl;

use crate::http::error::ApiError;

/// The addresses that are ours and the pages that are welcome.
pub(crate) struct OriginPolicy {
    public: Origin,
    /// Nobody but this machine can reach us, so its other names are ours, too.
    on_loopback: bool,
    allowed: Vec<Origin>,
}

impl OriginPolicy {
    /// Ours is `public_url`; `allowed` are the origins of other welcome pages.
    pub(crate) fn new(public_url: &PublicUrl, allowed: &[String]) -> anyhow::Result<Self> {
        let origin = |text: &str| {
            Origin::parse(text).ok_or_else(|| anyhow::anyhow!("`{text}` is not an origin"))
        };
        Ok(Self {
            public: origin(public_url.origin())?,
            on_loopback: public_url.is_loopback(),
            allowed: allowed.iter().map(|it| origin(it)).collect::<Result<_, _>>()?,
        })
    }

    /// Lets a request to `local_port` in, or says which header spoke against it. Gives back the
    /// `Origin` if the request comes from a (welcome) page.
    pub(crate) fn check(
        &self,
        uri: &Uri,
        headers: &HeaderMap,
        local_port: u16,
    ) -> Result<Option<HeaderValue>, ApiError> {
        self.check_host(uri, headers, local_port)?;
        let Some(value) =
            single(headers, header::ORIGIN.as_str()).ok_or(ApiError::ForeignOrigin)?
        else {
            return Ok(None);
        };
        let origin = value.to_str().ok().and_then(Origin::parse).ok_or(ApiError::ForeignOrigin)?;
        if self.is_ours(&origin, local_port) || self.allowed.contains(&origin) {
            Ok(Some(value.clone()))
        } else {
            Err(ApiError::ForeignOrigin)
        }
    }

    /// The half of [`OriginPolicy::check`] that does not ask which page a request comes from.
    pub(crate) fn check_host(
        &self,
        uri: &Uri,
        headers: &HeaderMap,
        local_port: u16,
    ) -> Result<(), ApiError> {
        // RFC 9112 section 3.2.
        let host =
            single(headers, header::HOST.as_str()).ok_or(ApiError::DuplicatedHeader("Host"))?;
        let host = host
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .ok_or(ApiError::ForeignHost)?;
        // A request may name a host in its first line as well; then both have to be ours.
        for authority in [Some(&host), uri.authority()].into_iter().flatten() {
            let Some(address) = Origin::of(&self.public.scheme, authority) else {
                return Err(ApiError::ForeignHost);
            };
            if !self.is_ours(&address, local_port) {
                return Err(ApiError::ForeignHost);
            }
        }
        Ok(())
    }

    /// The public address, or, when that is on loopback, any name of loopback with the public port
    /// or the one that the request really came to.
    fn is_ours(&self, address: &Origin, local_port: u16) -> bool {
        *address == self.public
            || (self.on_loopback
                && address.is_loopback()
                && address.scheme == self.public.scheme
                && (address.port == self.public.port || address.port == local_port))
    }
}

/// The value of a header that may be there once: nothing at all if it is there twice.
#[expect(clippy::option_option, reason = "absent is fine, twice is not")]
fn single<'a>(headers: &'a HeaderMap, name: &str) -> Option<Option<&'a HeaderValue>> {
    let mut values = headers.get_all(name).iter();
    let value = values.next();
    values.next().is_none().then_some(value)
}

/// Scheme, host and port, normalised, so that equal means the same.
#[derive(Debug, PartialEq, Eq)]
struct Origin {
    scheme: String,
    host: String,
    port: u16,
}

impl Origin {
    /// Reads `scheme://host[:port]`. A path, a user, the opaque `null` and schemes without a
    /// network host are nothing.
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

    fn is_loopback(&self) -> bool {
        let ipv6 = self
            .host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .and_then(|host| host.parse::<Ipv6Addr>().ok());
        self.host == "localhost" || self.host == "127.0.0.1" || ipv6 == Some(Ipv6Addr::LOCALHOST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The port that the requests of these tests came to.
    const LOCAL_PORT: u16 = 8080;

    fn verdict(public_url: &str, host: &[&str], origin: &[&str]) -> Result<bool, &'static str> {
        let public_url = PublicUrl::parse(public_url).unwrap();
        let origin_policy =
            OriginPolicy::new(&public_url, &["https://App.example:8443".to_owned()]).unwrap();
        let mut headers = HeaderMap::new();
        for value in host {
            headers.append(header::HOST, value.parse().unwrap());
        }
        for value in origin {
            headers.append(header::ORIGIN, value.parse().unwrap());
        }
        match origin_policy.check(&Uri::from_static("/mcp"), &headers, LOCAL_PORT) {
            Ok(origin) => Ok(origin.is_some()),
            Err(ApiError::ForeignHost) => Err("host"),
            Err(ApiError::DuplicatedHeader("Host")) => Err("two hosts"),
            Err(ApiError::ForeignOrigin) => Err("origin"),
            Err(other) => panic!("unexpected {other:?}"),
        }
    }

    #[test]
    fn on_loopback_every_name_of_loopback_is_ours_and_nothing_else() {
        for public_url in ["http://127.0.0.1:8080", "http://localhost:9000", "http://[::1]:80"] {
            for host in ["localhost", "127.0.0.1", "[::1]", "LOCALHOST", "[0:0::1]"] {
                let address = format!("{host}:{LOCAL_PORT}");
                assert_eq!(verdict(public_url, &[&address], &[]), Ok(false), "{host}");
                let origin = format!("http://{address}");
                assert_eq!(verdict(public_url, &[&address], &[&origin]), Ok(true));
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
                assert_eq!(verdict(public_url, &[host], &[]), Err("host"), "{host}");
            }
        }
    }

    #[test]
    fn in_public_only_the_public_name_is_ours() {
        let public = "https://notes.example";
        for (host, expected) in [
            ("notes.example", Ok(false)),
            ("Notes.Example:443", Ok(false)),
            ("notes.example:8080", Err("host")),
            ("localhost:8080", Err("host")),
            ("127.0.0.1:8080", Err("host")),
        ] {
            assert_eq!(verdict(public, &[host], &[]), expected, "{host}");
        }
    }

    #[test]
    fn a_page_must_be_ours_or_on_the_list() {
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
            let got = verdict(public, &["notes.example"], &[origin]);
            assert_eq!(got, expected, "{origin}");
        }
    }

    #[test]
    fn a_header_that_is_there_twice_or_missing_is_refused() {
        let public = "http://localhost:8080";
        let ours = "localhost:8080";
        assert_eq!(verdict(public, &[], &[]), Err("host"));
        assert_eq!(verdict(public, &[ours, ours], &[]), Err("two hosts"));
        assert_eq!(verdict(public, &[ours, "evil.example"], &[]), Err("two hosts"));
        let origin = "http://localhost:8080";
        assert_eq!(verdict(public, &[ours], &[origin, origin]), Err("origin"));
    }

    #[test]
    fn a_host_in_the_request_line_counts_too() {
        let public_url = PublicUrl::parse("http://localhost:8080").unwrap();
        let origin_policy = OriginPolicy::new(&public_url, &[]).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, "localhost:8080".parse().unwrap());
        let evil = Uri::from_static("http://evil.example/mcp");
        assert!(origin_policy.check(&evil, &headers, LOCAL_PORT).is_err());
        let ours = Uri::from_static("http://localhost:8080/mcp");
        assert!(origin_policy.check(&ours, &headers, LOCAL_PORT).is_ok());
    }
}
