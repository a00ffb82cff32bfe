//! The URL under which clients reach the server.

use std::fmt;

use url::{Host, Url};

/// The public URL of the server. It is an origin: no path and no trailing slash, a host in lower
/// case, and no default port. It is always compared byte by byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl {
    origin: String,
    loopback: bool,
}

impl PublicUrl {
    /// Parses and normalizes a URL. The error says what is wrong, to follow the name of the
    /// variable.
    pub fn parse(text: &str) -> Result<Self, String> {
        let url = origin(text)?;
        let loopback = is_loopback(&url);
        if !loopback && url.scheme() != "https" {
            return Err("must begin with https:// unless it is a loopback address".into());
        }
        Ok(Self { origin: url.origin().ascii_serialization(), loopback })
    }

    /// Returns the URL of a server that only this machine can reach.
    pub fn on_loopback(port: u16) -> Self {
        Self { origin: format!("http://127.0.0.1:{port}"), loopback: true }
    }

    /// Returns the URL, which is also the OAuth issuer.
    pub fn as_str(&self) -> &str {
        &self.origin
    }

    /// Returns the origin, as a browser sends it.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Returns the host, without a port.
    pub fn host(&self) -> &str {
        let authority = self.origin.split_once("://").map_or("", |(_, authority)| authority);
        match authority.rsplit_once(':') {
            // In an IPv6 address without a port, the part after the last colon belongs to the
            // address.
            Some((host, port)) if port.bytes().all(|it| it.is_ascii_digit()) => host,
            _ => authority,
        }
    }

    /// Returns the URL of the MCP endpoint, which is also the audience of access tokens.
    pub fn mcp(&self) -> String {
        format!("{}/mcp", self.origin)
    }

    /// Returns whether only this machine can reach it.
    pub fn is_loopback(&self) -> bool {
        self.loopback
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin)
    }
}

/// Returns whether the host of a URL is this machine, by its name or address.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Parses a URL that consists of an origin only.
pub fn origin(text: &str) -> Result<Url, String> {
    let expected = "must be a scheme and a host such as https://mcp.example.com";
    let url = Url::parse(text).map_err(|error| format!("{expected}: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("{expected}: the scheme must be https or http"));
    }
    // The error does not repeat a user name or password.
    let bare = url.username().is_empty()
        && url.password().is_none()
        && url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none();
    if bare { Ok(url) } else { Err(format!("{expected}, without a path or anything after it")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_url_is_an_origin() {
        for (text, normal) in [
            ("https://Notes.Example.com:443/", "https://notes.example.com"),
            ("https://notes.example.com:8443", "https://notes.example.com:8443"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://[::1]:8080", "http://[::1]:8080"),
            ("http://notes.localhost", "http://notes.localhost"),
        ] {
            assert_eq!(PublicUrl::parse(text).unwrap().as_str(), normal);
        }
        for (text, host) in [
            ("https://notes.example.com", "notes.example.com"),
            ("https://notes.example.com:8443", "notes.example.com"),
            ("http://[::1]:8080", "[::1]"),
            ("http://[::1]", "[::1]"),
        ] {
            assert_eq!(PublicUrl::parse(text).unwrap().host(), host);
        }
        for bad in [
            "",
            "notes.example.com",
            "ftp://notes.example.com",
            "https://notes.example.com/path",
            "https://notes.example.com/?q",
            "https://notes.example.com/#f",
            "https://me@notes.example.com",
            "http://notes.example.com",
            "http://192.168.1.5:8080",
            "http://localhost.example.com",
        ] {
            assert!(PublicUrl::parse(bad).is_err(), "{bad}");
        }
    }
}
