//! Redirect URIs: what a client may register, and which of them a request may name.
//!
//! A request names a registered URI character by character. There is one exception, because programs
//! on a machine listen on whatever port is free: on loopback the port is ignored, in both directions
//! (RFC 8252, section 7.3; clients register with and without one). `localhost` is a name and not an
//! address, so it stands for itself alone and never for `127.0.0.1`.
//!
//! RFC 8252 wants private-use schemes to be a reversed domain name. The clients that exist do not
//! comply, so the schemes of known ones are listed, a configured list is added, and the consent page
//! warns.

use std::fmt;

use serde::{Deserialize, Serialize};
use url::{Host, Url, form_urlencoded};

/// The longest URI that a client may register.
pub const MAX_BYTES: usize = 2_000;

/// The most URIs that one client may register.
pub const MAX_COUNT: usize = 10;

/// Private-use schemes of clients that are known to need one. Editors that stem from Visual Studio
/// Code give every extension an address under their own.
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

/// Schemes that mean something to a browser or to the system, and so can never be private. The
/// list of allowed schemes decides; this one only keeps such a scheme from being configured.
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

/// Parameters of our answer. A registered query that holds one could pass for an answer.
const ANSWERS: [&str; 6] = ["code", "state", "iss", "error", "error_description", "error_uri"];

/// A redirect URI that a client may have. Kept exactly as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RedirectUri(String);

/// Which private-use schemes are allowed: the known ones and the configured ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schemes(Vec<String>);

/// Who receives what is sent to a redirect URI, in the words of a consent page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A web site.
    Site {
        /// Its host, with the port unless it is the usual one.
        host: String,
    },
    /// A program on the person's own machine, whichever listens there.
    ThisMachine,
    /// The program that has claimed a private-use scheme on the person's machine.
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
    /// Characters that no URI has, or that parsers understand differently.
    #[error("a redirect URI must consist of the characters of a URI")]
    Characters,
    /// No absolute URI of a form that we know.
    #[error("a redirect URI must be absolute, such as https://host/path")]
    NotAbsolute,
    /// A scheme that is neither http(s) nor an allowed private-use one.
    #[error(
        "the scheme of the redirect URI is not one of the known apps'; use https or loopback http, \
         or ask the operator of this server to add it to REDIRECT_SCHEMES"
    )]
    Scheme,
    /// `http` to somewhere else than the machine itself.
    #[error("an http redirect URI must be on localhost, 127.0.0.1 or [::1]")]
    NotLoopback,
    /// A host in a form that is not its plain one, or a name that nobody owns.
    #[error("the host of the redirect URI is not a plain host name")]
    Host,
    /// `user:password@`.
    #[error("a redirect URI must not hold a user name")]
    UserInfo,
    /// `#`.
    #[error("a redirect URI must not have a fragment")]
    Fragment,
    /// `.` or `..`, also encoded.
    #[error("the path of a redirect URI must not have dot segments")]
    DotSegments,
    /// `*`.
    #[error("a redirect URI must not have wildcards")]
    Wildcard,
    /// A parameter that our answer will have.
    #[error("the query of a redirect URI must not hold parameters of the answer")]
    Answer,
}

impl Schemes {
    /// The known schemes and some more. Fails with the first one that cannot be a private-use
    /// scheme.
    pub fn with(more: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut schemes: Vec<String> = KNOWN_SCHEMES.map(str::to_owned).into();
        for scheme in more {
            let grammar = scheme.starts_with(|it: char| it.is_ascii_lowercase())
                && scheme.bytes().all(|it| {
                    it.is_ascii_lowercase() || it.is_ascii_digit() || b"+-.".contains(&it)
                });
            if !grammar || NEVER_PRIVATE.contains(&scheme.as_str()) {
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
    /// Takes a URI that a client wants to register.
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
            // `scheme:` alone names nothing.
            _ if authority.is_none_or(str::is_empty) && path.len() < 2 => {
                return Err(RedirectUriError::NotAbsolute);
            }
            _ => {}
        }
        if holds_answer(query.unwrap_or_default()) {
            return Err(RedirectUriError::Answer);
        }
        Ok(Self(text.to_owned()))
    }

    /// Exactly as it was registered.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a request that names `presented` means this one.
    pub fn matches(&self, presented: &str) -> bool {
        presented == self.0 || is_same_but_for_port(&self.0, presented)
    }

    /// Whether it leads to the machine that the browser runs on, by plain http.
    pub fn is_loopback(&self) -> bool {
        loopback(&self.0).is_some()
    }
}

impl fmt::Display for RedirectUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who receives what is sent to this URI, which has matched a registered one.
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

/// The URI with an answer added to its own query, which stays as it is.
pub fn with_answer<'a>(uri: &str, answer: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let added = form_urlencoded::Serializer::new(String::new()).extend_pairs(answer).finish();
    let joint = match uri.split_once('?') {
        None => "?",
        Some((_, query)) if query.is_empty() || query.ends_with('&') => "",
        Some(_) => "&",
    };
    format!("{uri}{joint}{added}")
}

/// What of a loopback URI has to be the same.
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

/// Takes an `http` URI on loopback apart, by its characters: nothing is decoded or repaired, so
/// whatever is unusual is no loopback URI.
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

/// The host of `host[:port]`; nothing if what follows the host is no port.
fn without_port(authority: &str) -> Option<&str> {
    let host_end = match authority.find(']') {
        Some(bracket) => bracket + 1,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at(host_end);
    let fits = match port.strip_prefix(':') {
        None => port.is_empty(),
        Some(digits) => {
            digits.bytes().all(|it| it.is_ascii_digit())
                && digits.parse::<u16>().is_ok_and(|it| it != 0)
        }
    };
    fits.then_some(host)
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
    // The parser understands many ways to write an address. Only the plain one is taken, so that
    // what a person reads is where the browser goes.
    let url = Url::parse(text).map_err(|_unusable| RedirectUriError::Host)?;
    let plain = url.host_str() == Some(host.to_ascii_lowercase().as_str());
    let owned = match url.host() {
        Some(Host::Domain(name)) => is_ownable(name),
        Some(Host::Ipv4(_) | Host::Ipv6(_)) => true,
        None => false,
    };
    if plain && owned { Ok(()) } else { Err(RedirectUriError::Host) }
}

/// Whether a name can belong to somebody: a public suffix such as `com` or `github.io` cannot, and
/// neither can one that ends in a dot or has empty labels. `localhost` is everybody's own.
fn is_ownable(name: &str) -> bool {
    name == "localhost"
        || (!name.ends_with('.')
            && !name.split('.').any(str::is_empty)
            && psl::domain(name.as_bytes()).is_some())
}

/// Splits `//authority` from what follows it. Something like `scheme:path` has none.
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

/// Only what RFC 3986 knows, and `%` only before two hexadecimal digits.
fn has_uri_characters(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.iter().enumerate().all(|(at, byte)| match byte {
        b'%' => bytes.get(at + 1..at + 3).is_some_and(|it| it.iter().all(u8::is_ascii_hexdigit)),
        _ => byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=".contains(byte),
    })
}

/// Whether a segment of the path is `.` or `..`, in any encoding.
pub(super) fn has_dot_segments(path: &str) -> bool {
    path.split('/').any(|segment| {
        let decoded = segment.to_ascii_lowercase().replace("%2e", ".");
        decoded == "." || decoded == ".."
    })
}

fn holds_answer(query: &str) -> bool {
    form_urlencoded::parse(query.as_bytes()).any(|(name, _)| ANSWERS.contains(&&*name))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<RedirectUri, RedirectUriError> {
        RedirectUri::parse(text, &Schemes::default())
    }

    #[test]
    fn real_clients_can_register() {
        for good in [
            "https://claude.ai/api/mcp/auth_callback",
            "https://chatgpt.com/connector_platform_oauth_redirect",
            "https://vscode.dev/redirect",
            "https://app.example.com:8443/cb?tenant=1",
            "https://example.com",
            "https://Example.com/cb",
            "https://192.0.2.7/cb",
            "https://me.github.io/cb",
            "https://localhost/cb",
            "http://localhost/callback",
            "http://localhost:33418",
            "http://127.0.0.1/",
            "http://127.0.0.1:33418/",
            "http://127.0.0.5:1/cb",
            "http://[::1]:1/cb",
            "cursor://anysphere.cursor-mcp/oauth/user-notes/callback",
            "vscode://vscode.github-authentication/did-authenticate",
            "vscode-insiders://x/y",
            "claude://oauth",
            "claude:/oauth",
            "antigravity://google.antigravity/oauth",
            "code-oss://vscode.github-authentication/did-authenticate",
            "com.raycast:/oauth?package_name=Extension",
            "jetbrains://idea/mcp/oauth",
            "kiro://kiro.kiroAgent/mcp/callback",
            "lmstudio://oauth/callback",
            "raycast://oauth?package_name=Extension",
            "trae://trae.ai-ide/callback",
            "vscodium://vscode.github-authentication/did-authenticate",
            "warp://mcp/oauth2callback",
            "windsurf://codeium.windsurf/callback",
            "zed://mcp/oauth/callback",
        ] {
            assert!(parse(good).is_ok(), "{good}: {:?}", parse(good));
        }
    }

    #[test]
    fn what_could_be_misused_is_refused() {
        use RedirectUriError as E;
        for (bad, error) in [
            ("", E::NotAbsolute),
            ("/cb", E::NotAbsolute),
            ("example.com/cb", E::NotAbsolute),
            ("//example.com/cb", E::NotAbsolute),
            ("https:example.com", E::NotAbsolute),
            ("https:/example.com/cb", E::NotAbsolute),
            ("https:///cb", E::Host),
            ("https://", E::Host),
            ("https://example.com/#", E::Fragment),
            ("https://example.com/#frag", E::Fragment),
            ("https://*.example.com/cb", E::Wildcard),
            ("https://example.com/*", E::Wildcard),
            (" https://example.com/cb", E::Characters),
            ("https://example.com/cb\n", E::Characters),
            ("https://exam\tple.com/cb", E::Characters),
            ("https://example.com/\0", E::Characters),
            ("\u{1}javascript:alert(1)", E::Characters),
            ("https:\\\\example.com\\cb", E::Characters),
            ("https://example.com/%", E::Characters),
            ("https://example.com/%zz", E::Characters),
            ("https://exämple.com/cb", E::Characters),
            ("https://good.example@evil.example/cb", E::UserInfo),
            ("https://good.example:pw@evil.example/cb", E::UserInfo),
            ("https://example.com/a/../cb", E::DotSegments),
            ("https://example.com/./cb", E::DotSegments),
            ("https://example.com/a/%2e%2E/cb", E::DotSegments),
            ("https://example.com/a/.%2e", E::DotSegments),
            ("http://example.com/cb", E::NotLoopback),
            ("http://192.168.1.5/cb", E::NotLoopback),
            ("http://0.0.0.0/cb", E::NotLoopback),
            ("http://localhost.evil.com/cb", E::NotLoopback),
            ("http://localhost./cb", E::NotLoopback),
            ("http://127.0.0.1.evil.com/cb", E::NotLoopback),
            ("http://127.1/cb", E::NotLoopback),
            ("http://0x7f000001/cb", E::NotLoopback),
            ("http://localhost:0/cb", E::Host),
            ("http://localhost:99999/cb", E::Host),
            ("http://localhost:80x/cb", E::Host),
            ("http://[::ffff:127.0.0.1]/cb", E::NotLoopback),
            ("https://com/cb", E::Host),
            ("https://co.uk/cb", E::Host),
            ("https://github.io/cb", E::Host),
            ("https://example.com./cb", E::Host),
            ("https://example..com/cb", E::Host),
            ("https://0x7f.1/cb", E::Host),
            ("https://2130706433/cb", E::Host),
            ("https://exa%6dple.com/cb", E::Host),
            ("javascript:alert(1)", E::NotAbsolute),
            ("javascript://example.com/%0aalert(1)", E::Scheme),
            ("JaVaScRiPt://x/y", E::Scheme),
            ("HTTPS://example.com/cb", E::Scheme),
            ("data:text/html,x", E::NotAbsolute),
            ("data://x/y", E::Scheme),
            ("vbscript:/x", E::Scheme),
            ("file:///etc/passwd", E::Scheme),
            ("blob:/x", E::Scheme),
            ("about:blank", E::NotAbsolute),
            ("view-source://x", E::Scheme),
            ("ws://localhost/cb", E::Scheme),
            ("wss://example.com/cb", E::Scheme),
            ("ftp://example.com/cb", E::Scheme),
            ("mailto:/me", E::Scheme),
            ("tel:/1", E::Scheme),
            ("myapp://cb", E::Scheme),
            ("com.example.app:/cb", E::Scheme),
            ("cursor:", E::NotAbsolute),
            ("cursor://", E::NotAbsolute),
            ("cursor:/", E::NotAbsolute),
            ("https://example.com/cb?code=1", E::Answer),
            ("https://example.com/cb?a=1&state=", E::Answer),
            ("https://example.com/cb?%69ss=x", E::Answer),
            ("cursor://x/cb?error=x", E::Answer),
        ] {
            assert_eq!(parse(bad), Err(error), "{bad:?}");
        }
        let long = format!("https://example.com/{}", "a".repeat(MAX_BYTES - 19));
        assert_eq!(long.len(), MAX_BYTES + 1);
        assert_eq!(parse(&long), Err(E::TooLong));
        assert!(parse(&long[..MAX_BYTES]).is_ok());
    }

    #[test]
    fn known_schemes_are_schemes_that_could_be_configured() {
        let all = Schemes::with(KNOWN_SCHEMES.map(str::to_owned)).unwrap();
        assert_eq!(all, Schemes::default());
        assert!(KNOWN_SCHEMES.is_sorted_by(|one, next| one < next));
    }

    #[test]
    fn schemes_can_be_added_unless_they_mean_something() {
        let schemes = Schemes::with(["com.example.app".to_owned()]).unwrap();
        assert!(RedirectUri::parse("com.example.app:/cb", &schemes).is_ok());
        assert!(RedirectUri::parse("cursor://x/cb", &schemes).is_ok());
        for bad in NEVER_PRIVATE.into_iter().chain(["", "1app", "My", "a b", "a:"]) {
            assert_eq!(Schemes::with([bad.to_owned()]), Err(bad.to_owned()), "{bad}");
        }
    }

    #[test]
    fn a_request_names_a_registered_uri_exactly() {
        let registered = parse("https://example.com/cb").unwrap();
        assert!(registered.matches("https://example.com/cb"));
        for other in [
            "https://example.com/cb/",
            "https://example.com/",
            "https://example.com",
            "https://Example.com/cb",
            "HTTPS://example.com/cb",
            "https://example.com:443/cb",
            "https://example.com/cb?",
            "https://example.com/cb?a=1",
            "https://example.com/cb#",
            "https://example.com/%63b",
            "https://example.com/./cb",
            "https://example.com/a/../cb",
            " https://example.com/cb",
            "https://example.com/cb\t",
            "https://user@example.com/cb",
            "https://xn--exmple-cua.com/cb",
            "http://example.com/cb",
            "",
        ] {
            assert!(!registered.matches(other), "{other:?}");
        }
    }

    #[test]
    fn on_loopback_the_port_does_not_matter() {
        for (registered, presented) in [
            ("http://localhost/callback", "http://localhost:53111/callback"),
            ("http://localhost:1/callback", "http://localhost/callback"),
            ("http://127.0.0.1/", "http://127.0.0.1:54321/"),
            ("http://127.0.0.1:33418/", "http://127.0.0.1:54321"),
            ("http://127.0.0.1:33418", "http://127.0.0.1:1/"),
            ("http://127.0.0.5:1/cb", "http://127.0.0.5:2/cb"),
            ("http://[::1]:1/cb", "http://[::1]/cb"),
            ("http://localhost/cb?a=1", "http://localhost:9/cb?a=1"),
        ] {
            assert!(parse(registered).unwrap().matches(presented), "{registered} {presented}");
        }
        for (registered, presented) in [
            ("http://localhost/cb", "http://localhost:1/other"),
            ("http://localhost/cb", "http://localhost:1/cb?a=1"),
            ("http://localhost/cb", "http://localhost:1/cb?"),
            ("http://localhost/cb", "http://localhost:1/cb#"),
            ("http://localhost/cb", "http://localhost:1/cb/"),
            ("http://localhost/cb", "http://localhost:1/%63b"),
            ("http://localhost/cb", "https://localhost:1/cb"),
            ("http://localhost/cb", "http://127.0.0.1:1/cb"),
            ("http://127.0.0.1/cb", "http://localhost:1/cb"),
            ("http://127.0.0.1/cb", "http://127.0.0.2:1/cb"),
            ("http://127.0.0.1/cb", "http://[::1]:1/cb"),
            ("http://localhost/cb", "http://LOCALHOST:1/cb"),
            ("http://localhost/cb", "http://localhost.:1/cb"),
            ("http://localhost/cb", "http://localhost.evil.com/cb"),
            ("http://127.0.0.1/cb", "http://127.0.0.1.evil.com/cb"),
            ("http://127.0.0.1/cb", "http://127.1:1/cb"),
            ("http://localhost/cb", "http://me@localhost:1/cb"),
            ("http://localhost/cb", "http://localhost:@evil.com/cb"),
            ("http://localhost/cb", "http://localhost:1@evil.com/cb"),
            ("http://localhost/cb", "http://localhost:/cb"),
            ("http://localhost/cb", "http://localhost:0/cb"),
            ("http://localhost/cb", "http://localhost:70000/cb"),
            ("http://localhost/cb", "http://localhost:1/cb\n"),
            ("http://localhost/cb", "http://localhost:1\\cb"),
            ("https://localhost/cb", "https://localhost:1/cb"),
            ("cursor://x/cb", "cursor://x:1/cb"),
        ] {
            assert!(!parse(registered).unwrap().matches(presented), "{registered} {presented:?}");
        }
    }

    #[test]
    fn an_answer_is_added_to_the_query() {
        for (uri, expected) in [
            ("https://e.com/cb", "https://e.com/cb?code=a%26b&iss=x"),
            ("https://e.com/cb?", "https://e.com/cb?code=a%26b&iss=x"),
            ("https://e.com/cb?t=1", "https://e.com/cb?t=1&code=a%26b&iss=x"),
            ("cursor://x/cb?t=1&", "cursor://x/cb?t=1&code=a%26b&iss=x"),
        ] {
            assert_eq!(with_answer(uri, [("code", "a&b"), ("iss", "x")]), expected);
        }
    }

    #[test]
    fn a_person_can_tell_who_receives_the_answer() {
        for (uri, expected) in [
            ("https://claude.ai/cb", Destination::Site { host: "claude.ai".into() }),
            ("https://e.com:8443/cb", Destination::Site { host: "e.com:8443".into() }),
            ("http://localhost:5/cb", Destination::ThisMachine),
            ("http://[::1]/cb", Destination::ThisMachine),
            ("cursor://x/cb", Destination::App { scheme: "cursor".into() }),
        ] {
            assert_eq!(destination(uri), expected, "{uri}");
        }
    }

    fn path() -> impl Strategy<Value = String> {
        "(/[a-z0-9._~-]{0,5}){0,3}(\\?[a-z=&]{0,8})?"
    }

    proptest! {
        #[test]
        fn what_is_registered_matches_itself(path in path(), host in "[a-z]{1,8}\\.(com|de)") {
            if let Ok(uri) = parse(&format!("https://{host}{path}")) {
                prop_assert!(uri.matches(uri.as_str()));
                let longer = format!("{uri}x");
                prop_assert!(!uri.matches(&longer));
            }
        }

        #[test]
        fn only_the_port_is_ever_ignored(
            path in path(), other in path(), one in 1..=u16::MAX, two in 1..=u16::MAX,
        ) {
            if let Ok(uri) = parse(&format!("http://127.0.0.1:{one}{path}")) {
                let same = format!("http://127.0.0.1:{two}{path}");
                prop_assert!(uri.matches(&same));
                let presented = format!("http://127.0.0.1:{two}{other}");
                let slash = |it: &str| match it.strip_prefix('/') {
                    Some(rest) => format!("/{rest}"),
                    None => format!("/{it}"),
                };
                prop_assert_eq!(uri.matches(&presented), slash(&path) == slash(&other));
            }
        }

        #[test]
        fn a_match_leads_to_the_registered_host(
            registered in "(https?|cursor)://[a-z0-9.@:\\[\\]%/?#*-]{1,24}",
            presented in "\\PC{0,40}",
        ) {
            if let Ok(uri) = parse(&registered)
                && uri.matches(&presented)
            {
                let host = |it: &str| Url::parse(it).unwrap().host_str().map(str::to_owned);
                prop_assert_eq!(host(uri.as_str()), host(&presented));
            }
        }

        #[test]
        fn what_we_take_the_parser_leaves_alone(text in "(https|http)://[ -~]{0,30}") {
            if let Ok(uri) = parse(&text) {
                let url = Url::parse(uri.as_str()).unwrap();
                prop_assert!(url.username().is_empty() && url.password().is_none());
                prop_assert!(url.fragment().is_none());
                let authority = uri.as_str().split('/').nth(2).unwrap();
                let authority = authority.split('?').next().unwrap().to_ascii_lowercase();
                prop_assert!(authority.starts_with(url.host_str().unwrap()));
            }
        }

        #[test]
        fn an_answer_can_be_read_back(query in "(\\?[a-z0-9=&]{0,10})?", value in "\\PC{0,20}") {
            let uri = with_answer(&format!("https://e.com/cb{query}"), [("state", value.as_str())]);
            let url = Url::parse(&uri).unwrap();
            let (name, read) = url.query_pairs().last().unwrap();
            prop_assert_eq!((&*name, &*read), ("state", value.as_str()));
        }
    }
}
