//! Redirect URIs: validation at registration, and matching at authorization.
//!
//! The redirect URI of a request must be equal to a registered one, character by character. There
//! is one exception, because programs on the user's machine listen on any free port: on loopback,
//! the port is ignored, in both directions (RFC 8252, section 7.3; clients register with and
//! without one). `localhost` is a name and not an address, so it matches only itself and never
//! `127.0.0.1`.
//!
//! RFC 8252 requires private-use schemes to be a reversed domain name. Existing clients do not
//! comply, so the schemes of known clients are listed, a configured list is added, and the consent
//! page shows a warning.

use std::fmt;

use serde::{Deserialize, Serialize};
use url::{Host, Url, form_urlencoded};

/// The maximum length of a registered URI, in bytes.
pub const MAX_BYTES: usize = 2_000;

/// The maximum number of URIs that one client may register.
pub const MAX_COUNT: usize = 10;

/// Private-use schemes of clients that are known to need one. Editors derived from Visual Studio
/// Code give every extension a URI under their own scheme.
pub const KNOWN_SCHEMES: [&str; 31] = [
    "antigravity",
    "antigravity-insiders",
    "cherrystudio",
    "claude",
    "code-oss",
    "codex",
    "com.raycast",
    "cursor",
    "goose",
    "grokbot",
    "jetbrains",
    "kiro",
    "lmstudio",
    "mcpjam",
    "positron",
    "qoder",
    "raycast",
    "trae",
    "trae-cn",
    "vscode",
    "vscode-exploration",
    "vscode-insiders",
    "vscodium",
    "vscodium-insiders",
    "warp",
    "warppreview",
    "windsurf",
    "windsurf-insiders",
    "windsurf-next",
    "zed",
    "zed-preview",
];

/// Schemes that have a meaning for browsers or operating systems, and so can never be private. The
/// list of allowed schemes decides; this one only prevents configuring such a scheme.
const NEVER_PRIVATE: [&str; 23] = [
    "about",
    "blob",
    "chrome",
    "content",
    "data",
    "feed",
    "file",
    "filesystem",
    "ftp",
    "ftps",
    "http",
    "https",
    "intent",
    "jar",
    "javascript",
    "mailto",
    "resource",
    "sms",
    "tel",
    "vbscript",
    "view-source",
    "ws",
    "wss",
];

/// Parameters of the authorization response. A registered query that contains one could be mistaken
/// for a response.
const RESPONSE_PARAMETERS: [&str; 6] =
    ["code", "state", "iss", "error", "error_description", "error_uri"];

/// A valid redirect URI of a client, exactly as the client wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RedirectUri(String);

/// The allowed private-use schemes: the known ones and the configured ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schemes(Vec<String>);

/// The recipient behind a redirect URI, for the consent page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A web site.
    Site {
        /// The host, with the port unless it is the default.
        host: String,
    },
    /// Any program that listens on the user's own machine.
    ThisMachine,
    /// The program that has claimed a private-use scheme on the user's machine.
    App {
        /// The scheme, without the colon.
        scheme: String,
    },
}

/// Why a URI cannot be registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedirectUriError {
    /// More than [`MAX_BYTES`].
    #[error("a redirect URI must not be longer than 2,000 characters")]
    TooLong,
    /// Characters that are not allowed in URIs, or that parsers interpret differently.
    #[error("a redirect URI must consist of the characters of a URI")]
    Characters,
    /// Not an absolute URI of a supported form.
    #[error("a redirect URI must be absolute, such as https://host/path")]
    NotAbsolute,
    /// The scheme is neither http(s) nor an allowed private-use one.
    #[error(
        "the scheme of the redirect URI is not that of a known app; use https, use http on loopback, \
         or ask the operator of this server to add it to REDIRECT_SCHEMES"
    )]
    Scheme,
    /// `http` to another host than loopback.
    #[error("an http redirect URI must be on localhost, 127.0.0.1 or [::1]")]
    NotLoopback,
    /// The host is not in its canonical form, or is a name that cannot be owned.
    #[error("the host of the redirect URI is not a plain host name")]
    Host,
    /// `user:password@`.
    #[error("a redirect URI must not contain a user name")]
    UserInfo,
    /// `#`.
    #[error("a redirect URI must not have a fragment")]
    Fragment,
    /// `.` or `..` in the path, also percent-encoded.
    #[error("the path of a redirect URI must not have dot segments")]
    DotSegments,
    /// `*`.
    #[error("a redirect URI must not have wildcards")]
    Wildcard,
    /// A parameter that the authorization response will have.
    #[error(
        "the query of a redirect URI must not contain parameters of the authorization response"
    )]
    ResponseParameter,
}

impl Schemes {
    /// Adds schemes to the known ones. Fails with the first one that cannot be a private-use
    /// scheme.
    pub fn with(more: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut schemes: Vec<String> = KNOWN_SCHEMES.map(str::to_owned).into();
        for scheme in more {
            let is_scheme = scheme.starts_with(|it: char| it.is_ascii_lowercase())
                && scheme.bytes().all(|byte| {
                    byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte)
                });
            if !is_scheme || NEVER_PRIVATE.contains(&scheme.as_str()) {
                return Err(scheme);
            }
            if !schemes.contains(&scheme) {
                schemes.push(scheme);
            }
        }
        Ok(Self(schemes))
    }

    fn allow(&self, scheme: &str) -> bool {
        self.0.iter().any(|it| it == scheme)
    }
}

impl Default for Schemes {
    fn default() -> Self {
        Self(KNOWN_SCHEMES.map(str::to_owned).into())
    }
}

impl RedirectUri {
    /// Validates a URI that a client wants to register.
    pub fn parse(text: &str, schemes: &Schemes) -> Result<Self, RedirectUriError> {
        if text.len() > MAX_BYTES {
            return Err(RedirectUriError::TooLong);
        }
        if text.contains('#') {
            return Err(RedirectUriError::Fragment);
        }
        if text.contains('*') {
            return Err(RedirectUriError::Wildcard);
        }
        if !has_uri_characters(text) {
            return Err(RedirectUriError::Characters);
        }
        let (scheme, rest) = text.split_once(':').ok_or(RedirectUriError::NotAbsolute)?;
        let (authority, path_and_query) = split_authority(rest)?;
        if authority.is_some_and(|it| it.contains('@')) {
            return Err(RedirectUriError::UserInfo);
        }
        let (path, query) = split_query(path_and_query);
        if has_dot_segments(path) {
            return Err(RedirectUriError::DotSegments);
        }
        match scheme {
            "https" | "http" => check_host(text, scheme, authority)?,
            _ if !schemes.allow(scheme) => return Err(RedirectUriError::Scheme),
            // `scheme:` alone identifies nothing.
            _ if authority.is_none_or(str::is_empty) && path.len() < 2 => {
                return Err(RedirectUriError::NotAbsolute);
            }
            // A browser could not open it.
            _ if Url::parse(text).is_err() => return Err(RedirectUriError::Host),
            _ => {}
        }
        if has_response_parameter(query.unwrap_or_default()) {
            return Err(RedirectUriError::ResponseParameter);
        }
        Ok(Self(text.to_owned()))
    }

    /// Returns the URI, exactly as it was registered.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether `presented`, the redirect URI of a request, matches this one.
    pub fn matches(&self, presented: &str) -> bool {
        presented == self.0 || is_same_but_for_port(&self.0, presented)
    }

    /// Returns whether it is a plain http URI on loopback.
    pub fn is_loopback(&self) -> bool {
        loopback(&self.0).is_some()
    }
}

impl fmt::Display for RedirectUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Returns the recipient behind a redirect URI that has matched a registered one.
pub fn destination(uri: &str) -> Destination {
    let scheme = uri.split_once(':').map_or(uri, |(scheme, _)| scheme);
    if loopback(uri).is_some() {
        return Destination::ThisMachine;
    }
    match Url::parse(uri) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => {
            let host = url.host_str().unwrap_or_default();
            Destination::Site {
                host: match url.port() {
                    Some(port) => format!("{host}:{port}"),
                    None => host.to_owned(),
                },
            }
        }
        _ => Destination::App { scheme: scheme.to_owned() },
    }
}

/// Appends a response to the query of a redirect URI. The existing query is not changed.
pub fn with_response<'a>(
    uri: &str,
    response: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> String {
    let added = form_urlencoded::Serializer::new(String::new()).extend_pairs(response).finish();
    let separator = match uri.split_once('?') {
        None => "?",
        Some((_, query)) if query.is_empty() || query.ends_with('&') => "",
        Some(_) => "&",
    };
    format!("{uri}{separator}{added}")
}

/// The parts of a loopback URI that must be equal.
#[derive(PartialEq)]
struct Loopback<'a> {
    host: &'a str,
    path: &'a str,
    query: Option<&'a str>,
}

fn is_same_but_for_port(registered: &str, presented: &str) -> bool {
    match (loopback(registered), loopback(presented)) {
        (Some(one), Some(other)) => one == other,
        _ => false,
    }
}

/// Splits an `http` URI on loopback, by its characters: nothing is decoded or repaired, so a URI in
/// an unusual form is not a loopback URI.
fn loopback(uri: &str) -> Option<Loopback<'_>> {
    if uri.len() > MAX_BYTES || !has_uri_characters(uri) || uri.contains('#') {
        return None;
    }
    let rest = uri.strip_prefix("http://")?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path_and_query) = rest.split_at(end);
    let host = without_port(authority)?;
    let (path, query) = split_query(path_and_query);
    is_loopback_host(host).then_some(Loopback {
        host,
        path: if path.is_empty() { "/" } else { path },
        query,
    })
}

/// Returns the host of `host[:port]`, or `None` if what follows the host is not a port.
fn without_port(authority: &str) -> Option<&str> {
    let host_end = match authority.find(']') {
        Some(bracket) => bracket + 1,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at(host_end);
    let is_valid = match port.strip_prefix(':') {
        None => port.is_empty(),
        Some(digits) => {
            digits.bytes().all(|it| it.is_ascii_digit())
                && digits.parse::<u16>().is_ok_and(|it| it != 0)
        }
    };
    is_valid.then_some(host)
}

fn is_loopback_host(host: &str) -> bool {
    host == "localhost"
        || host == "[::1]"
        || host.parse::<std::net::Ipv4Addr>().is_ok_and(|it| it.is_loopback())
}

fn check_host(text: &str, scheme: &str, authority: Option<&str>) -> Result<(), RedirectUriError> {
    let authority = authority.ok_or(RedirectUriError::NotAbsolute)?;
    let host = without_port(authority).ok_or(RedirectUriError::Host)?;
    if scheme == "http" {
        return match loopback(text) {
            Some(_) => Ok(()),
            None => Err(RedirectUriError::NotLoopback),
        };
    }
    // The parser accepts many ways to write an address. Only the canonical one is accepted here, so
    // that the host that the user reads is the host that the browser connects to.
    let url = Url::parse(text).map_err(|_unusable| RedirectUriError::Host)?;
    let is_canonical = url.host_str() == Some(host.to_ascii_lowercase().as_str());
    let is_ownable = match url.host() {
        Some(Host::Domain(name)) => is_ownable(name),
        Some(Host::Ipv4(_) | Host::Ipv6(_)) => true,
        None => false,
    };
    if is_canonical && is_ownable { Ok(()) } else { Err(RedirectUriError::Host) }
}

/// Returns whether a host name can be owned: a public suffix such as `com` or `co.uk` cannot,
/// and neither can a name that ends in a dot or has empty labels. `localhost` is accepted.
fn is_ownable(name: &str) -> bool {
    name == "localhost"
        || (!name.ends_with('.')
            && !name.split('.').any(str::is_empty)
            && psl::domain(name.as_bytes()).is_some())
}

/// Splits `//authority` from what follows it. `scheme:path` has no authority.
fn split_authority(rest: &str) -> Result<(Option<&str>, &str), RedirectUriError> {
    match rest.strip_prefix("//") {
        Some(rest) => {
            let end = rest.find(['/', '?']).unwrap_or(rest.len());
            let (authority, path_and_query) = rest.split_at(end);
            Ok((Some(authority), path_and_query))
        }
        None if rest.starts_with('/') => Ok((None, rest)),
        None => Err(RedirectUriError::NotAbsolute),
    }
}

fn split_query(path_and_query: &str) -> (&str, Option<&str>) {
    match path_and_query.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (path_and_query, None),
    }
}

/// Returns whether a text has only characters of RFC 3986, and `%` only before two hexadecimal
/// digits.
fn has_uri_characters(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.iter().enumerate().all(|(at, byte)| match byte {
        b'%' => bytes.get(at + 1..at + 3).is_some_and(|it| it.iter().all(u8::is_ascii_hexdigit)),
        _ => byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=".contains(byte),
    })
}

/// Returns whether a segment of the path is `.` or `..`, in any encoding.
pub(super) fn has_dot_segments(path: &str) -> bool {
    path.split('/').any(|segment| {
        let decoded = segment.to_ascii_lowercase().replace("%2e", ".");
        decoded == "." || decoded == ".."
    })
}

fn has_response_parameter(query: &str) -> bool {
    form_urlencoded::parse(query.as_bytes()).any(|(name, _)| RESPONSE_PARAMETERS.contains(&&*name))
}

#[cfg(test)]
mod tests;
