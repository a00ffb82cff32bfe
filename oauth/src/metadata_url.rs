//! Client identifiers that are URLs of Client ID Metadata Documents.
//!
//! The rules are those of the draft, and more that keep a fetch harmless: no IP address as the
//! host, no port, and no text that parsers interpret differently. The server never connects to a
//! URL that is refused here.

use std::fmt;

use platform::non_public_ip::public_host;

use super::redirect_uri::has_dot_segments;

/// The maximum length of a URL, in bytes.
pub const MAX_BYTES: usize = 512;

/// The URL of a metadata document, which is also the `client_id`, exactly as the client wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MetadataUrl {
    text: String,
    host: String,
}

/// Why a `client_id` cannot be the URL of a metadata document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataUrlError {
    /// More than [`MAX_BYTES`].
    #[error("it is longer than 512 characters")]
    TooLong,
    /// Not `https://`, not absolute, or with characters that are not allowed in URLs.
    #[error("it is not a plain https:// URL")]
    NotHttps,
    /// No path after the host.
    #[error("it has no path")]
    NoPath,
    /// `.` or `..` in the path, also percent-encoded.
    #[error("its path has dot segments")]
    DotSegments,
    /// `#`.
    #[error("it has a fragment")]
    Fragment,
    /// `user:password@`.
    #[error("it contains a user name")]
    UserInfo,
    /// Any port, even the default.
    #[error("it contains a port")]
    Port,
    /// An IP address, a name of a local network, or the name of this server.
    #[error("its host is not a public host name")]
    Host,
}

impl MetadataUrl {
    /// Returns whether a `client_id` looks like a URL.
    pub fn looks_like(client_id: &str) -> bool {
        client_id.contains("://")
    }

    /// Parses a `client_id`. `own_host` is the host of this server, which is refused, because its
    /// documents would be its own responses.
    pub fn parse(client_id: &str, own_host: &str) -> Result<Self, MetadataUrlError> {
        use MetadataUrlError as Error;

        if client_id.len() > MAX_BYTES {
            return Err(Error::TooLong);
        }
        let rest = client_id.strip_prefix("https://").ok_or(Error::NotHttps)?;
        let is_plain =
            client_id.bytes().all(|it| it.is_ascii_graphic() && !b"\\\"<>^`{|}".contains(&it));
        if !is_plain {
            return Err(Error::NotHttps);
        }
        if client_id.contains('#') {
            return Err(Error::Fragment);
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path_and_query) = rest.split_at(end);
        if authority.contains('@') {
            return Err(Error::UserInfo);
        }
        let path = path_and_query.split_once('?').map_or(path_and_query, |(path, _)| path);
        if path.len() < 2 {
            return Err(Error::NoPath);
        }
        if has_dot_segments(path) {
            return Err(Error::DotSegments);
        }
        if authority.starts_with('[') {
            return Err(Error::Host);
        }
        if authority.contains(':') {
            return Err(Error::Port);
        }
        let host = public_host(client_id, authority).ok_or(Error::Host)?;
        if host == own_host {
            return Err(Error::Host);
        }
        Ok(Self { text: client_id.to_owned(), host })
    }

    /// Returns the URL, exactly as the client wrote it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the host, which identifies the client's publisher.
    pub fn host(&self) -> &str {
        &self.host
    }
}

impl fmt::Display for MetadataUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use url::{Host, Url};

    use super::*;

    fn parse(text: &str) -> Result<MetadataUrl, MetadataUrlError> {
        MetadataUrl::parse(text, "notes.example.com")
    }

    #[test]
    fn urls_of_known_clients_are_accepted() {
        for (good, host) in [
            ("https://claude.ai/oauth/claude-code-client-metadata", "claude.ai"),
            ("https://vscode.dev/oauth/client-metadata.json", "vscode.dev"),
            ("https://app.example.com/client.json?v=2", "app.example.com"),
            ("https://app.example.com/a/", "app.example.com"),
            ("https://me.github.io/c", "me.github.io"),
            ("https://xn--mnchen-3ya.de/c", "xn--mnchen-3ya.de"),
        ] {
            assert_eq!(parse(good).unwrap().host(), host, "{good}");
            assert_eq!(parse(good).unwrap().as_str(), good);
        }
    }

    #[test]
    fn other_urls_are_refused() {
        use MetadataUrlError as E;
        for (bad, error) in [
            ("http://app.example.com/c", E::NotHttps),
            ("HTTPS://app.example.com/c", E::NotHttps),
            ("https:/app.example.com/c", E::NotHttps),
            ("app.example.com/c", E::NotHttps),
            ("javascript://app.example.com/c", E::NotHttps),
            ("https://app.example.com/c d", E::NotHttps),
            ("https://app.example.com/c\n", E::NotHttps),
            ("https://app.example.com/\\c", E::NotHttps),
            ("https://äpp.example.com/c", E::NotHttps),
            ("https://app.example.com", E::NoPath),
            ("https://app.example.com/", E::NoPath),
            ("https://app.example.com?c", E::NoPath),
            ("https://app.example.com/?c", E::NoPath),
            ("https://app.example.com/a/../c", E::DotSegments),
            ("https://app.example.com/./c", E::DotSegments),
            ("https://app.example.com/a/%2e%2E/c", E::DotSegments),
            ("https://app.example.com/c/..", E::DotSegments),
            ("https://app.example.com/c#f", E::Fragment),
            ("https://app.example.com/c#", E::Fragment),
            ("https://me@app.example.com/c", E::UserInfo),
            ("https://me:pw@app.example.com/c", E::UserInfo),
            ("https://app.example.com:8443/c", E::Port),
            ("https://app.example.com:443/c", E::Port),
            ("https://app.example.com:/c", E::Port),
            ("https://127.0.0.1/c", E::Host),
            ("https://192.0.2.1/c", E::Host),
            ("https://[::1]/c", E::Host),
            ("https://[2001:db8::1]/c", E::Host),
            ("https://2130706433/c", E::Host),
            ("https://0x7f000001/c", E::Host),
            ("https://0177.0.0.1/c", E::Host),
            ("https://127.1/c", E::Host),
            ("https://App.example.com/c", E::Host),
            ("https://app.example.com./c", E::Host),
            ("https://app..example.com/c", E::Host),
            ("https://exa%6dple.com/c", E::Host),
            ("https://localhost/c", E::Host),
            ("https://app.localhost/c", E::Host),
            ("https://printer.local/c", E::Host),
            ("https://metadata.google.internal/c", E::Host),
            ("https://router.home.arpa/c", E::Host),
            ("https://intranet/c", E::Host),
            ("https://com/c", E::Host),
            ("https://notes.example.com/c", E::Host),
            ("https:///c", E::Host),
            ("", E::NotHttps),
        ] {
            assert_eq!(parse(bad), Err(error), "{bad:?}");
        }
        let long = format!("https://app.example.com/{}", "a".repeat(MAX_BYTES - 23));
        assert_eq!(parse(&long), Err(E::TooLong));
        assert!(parse(&long[..MAX_BYTES]).is_ok());
    }

    proptest! {
        #[test]
        fn an_accepted_url_has_the_parsed_host(text in "https://[ -~]{0,40}") {
            if let Ok(accepted) = parse(&text) {
                let url = Url::parse(accepted.as_str()).unwrap();
                prop_assert_eq!(url.host_str(), Some(accepted.host()));
                prop_assert_eq!(url.port_or_known_default(), Some(443));
                prop_assert!(url.username().is_empty() && url.fragment().is_none());
                prop_assert!(matches!(url.host(), Some(Host::Domain(_))));
                prop_assert_eq!(url.as_str(), accepted.as_str());
            }
        }

        #[test]
        fn arbitrary_text_causes_no_panic(text in "\\PC{0,100}") {
            drop(parse(&text));
        }
    }
}
