//! The proxies for outgoing requests of this server: `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`,
//! with the same meaning as in curl.
//!
//! A request to an `https` URL is tunneled through a proxy by `CONNECT`; a request to a plain
//! `http` URL is forwarded by it. Loopback addresses are always reached directly.

use std::{fmt, sync::Arc};

use hyper_util::client::proxy::matcher::Matcher;
use reqwest::{ClientBuilder, NoProxy, Proxy};
use url::Url;

/// Hosts that are always reached without a proxy, as an entry of `NO_PROXY`.
const THIS_MACHINE: &str = "localhost,127.0.0.0/8,::1";

/// The configured proxies. Cheap to clone. `Debug` and `Display` omit the credentials.
#[derive(Clone, Default)]
pub struct Proxies(Option<Arc<Inner>>);

struct Inner {
    https: Option<ProxyUrl>,
    http: Option<ProxyUrl>,
    /// Hosts that are reached without a proxy, in the format of `NO_PROXY`.
    except: String,
    /// Decides whether a URL uses a proxy, as the HTTP client does: it is built from the same texts
    /// and follows the same rules.
    matcher: Matcher,
}

/// The URL of a proxy, possibly with a user name and a password.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyUrl(Url);

impl Proxies {
    /// Creates the proxies for `https` and for plain `http` URLs, except for the hosts in `except`.
    pub fn new(https: Option<ProxyUrl>, http: Option<ProxyUrl>, except: &str) -> Self {
        if https.is_none() && http.is_none() {
            return Self::default();
        }
        let except = exceptions(except);
        let text = |proxy: &Option<ProxyUrl>| {
            proxy.as_ref().map(|it| it.0.as_str().to_owned()).unwrap_or_default()
        };
        let matcher =
            Matcher::builder().https(text(&https)).http(text(&http)).no(except.as_str()).build();
        Self(Some(Arc::new(Inner { https, http, except, matcher })))
    }

    /// Returns the proxy for a request to this URL. `None`: the request is sent directly.
    pub fn for_url(&self, url: &Url) -> Option<&ProxyUrl> {
        let inner = self.0.as_deref()?;
        inner.matcher.intercept(&url.as_str().parse().ok()?)?;
        if url.scheme() == "https" { inner.https.as_ref() } else { inner.http.as_ref() }
    }

    /// Adds the proxies to a client builder.
    pub fn apply(&self, mut builder: ClientBuilder) -> reqwest::Result<ClientBuilder> {
        let Some(inner) = self.0.as_deref() else {
            return Ok(builder);
        };
        let except = || NoProxy::from_string(&inner.except);
        if let Some(proxy) = &inner.https {
            builder = builder.proxy(Proxy::https(proxy.0.clone())?.no_proxy(except()));
        }
        if let Some(proxy) = &inner.http {
            builder = builder.proxy(Proxy::http(proxy.0.clone())?.no_proxy(except()));
        }
        Ok(builder)
    }
}

impl ProxyUrl {
    /// Parses `http://user:password@proxy.example.com:3128`; the default scheme is `http`. The
    /// error says what is wrong and never repeats the text, which may contain a password.
    pub fn parse(text: &str) -> Result<Self, String> {
        let expected = "must be a URL such as http://proxy.example.com:3128";
        let text = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let url = Url::parse(&text).map_err(|error| format!("{expected}: {error}"))?;
        let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        if matches!(url.scheme(), "http" | "https") && url.has_host() && bare {
            Ok(Self(url))
        } else {
            Err(format!(
                "{expected}: http or https, without a path; in a user name or password, write \
                 characters such as #, / and @ as %23, %2F and %40"
            ))
        }
    }

    /// Makes a client send all its requests through this proxy.
    pub fn apply_to_all(&self, builder: ClientBuilder) -> reqwest::Result<ClientBuilder> {
        Ok(builder.proxy(Proxy::all(self.0.clone())?))
    }
}

/// Converts a list of hosts from the format of `NO_PROXY` to the one of the HTTP client: without
/// the wildcard of `*.example.com`, which is its default, and without ports, which it does not
/// distinguish.
fn exceptions(text: &str) -> String {
    let entries = text.split([',', ' ']).map(str::trim).filter(|it| !it.is_empty());
    let entries = entries.map(|entry| {
        let entry = entry.strip_prefix("*.").unwrap_or(entry);
        match entry.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') && port.parse::<u16>().is_ok() => host,
            _ => entry,
        }
    });
    entries.chain([THIS_MACHINE]).collect::<Vec<_>>().join(",")
}

impl fmt::Display for ProxyUrl {
    /// Writes the URL without the credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = self.0.port_or_known_default().unwrap_or_default();
        write!(f, "{}://{}:{port}", self.0.scheme(), self.0.host_str().unwrap_or_default())
    }
}

impl fmt::Debug for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProxyUrl({self})")
    }
}

impl fmt::Display for Proxies {
    /// Writes a phrase for the output of `check`: which URLs go through which proxy.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(inner) = self.0.as_deref() else {
            return f.write_str("directly, without a proxy");
        };
        let mut parts = Vec::new();
        for (scheme, proxy) in [("https", &inner.https), ("http", &inner.http)] {
            parts.push(match proxy {
                Some(proxy) => format!("{scheme} through {proxy}"),
                None => format!("{scheme} directly"),
            });
        }
        write!(f, "{}, except {}", parts.join(", "), inner.except)
    }
}

impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxies({self})")
    }
}

#[cfg(any(test, feature = "test-support"))]
pub mod fake {
    //! A forwarding proxy for one request.

    use std::{
        io::{Read as _, Write as _},
        net::TcpListener,
        thread::JoinHandle,
    };

    use super::{Proxies, ProxyUrl};

    /// Starts a fake proxy that answers one request with this JSON. Returns proxies that use it for
    /// plain `http`, and a handle that yields the head of the request.
    pub fn start(json: &'static str) -> (Proxies, JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a fake proxy works");
        let url =
            format!("http://me:hunter2@{}", listener.local_addr().expect("a fake proxy works"));
        let head = std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().expect("a fake proxy works");
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n")
                && socket.read(&mut byte).expect("a fake proxy works") == 1
            {
                head.push(byte[0]);
            }
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
                 connection: close\r\n\r\n{json}",
                json.len()
            );
            socket.write_all(answer.as_bytes()).expect("a fake proxy works");
            // Reads the rest of the request, so that a reset does not cut off the response.
            socket.shutdown(std::net::Shutdown::Write).expect("a fake proxy works");
            drop(socket.read_to_end(&mut Vec::new()));
            String::from_utf8(head).expect("a fake proxy works")
        });
        (Proxies::new(None, Some(ProxyUrl::parse(&url).expect("a fake proxy works")), ""), head)
    }

    /// Returns whether the head of a request has this request line and the credentials of the
    /// proxy.
    pub fn is_request(head: &str, request_line: &str) -> bool {
        let head = head.to_ascii_lowercase();
        head.starts_with(&request_line.to_ascii_lowercase())
            && head.contains("proxy-authorization: basic bwu6ahvudgvymg==")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(https: &str, http: &str, except: &str) -> Proxies {
        let proxy = |text: &str| (!text.is_empty()).then(|| ProxyUrl::parse(text).unwrap());
        Proxies::new(proxy(https), proxy(http), except)
    }

    fn route(proxies: &Proxies, url: &str) -> String {
        let url = Url::parse(url).unwrap();
        proxies.for_url(&url).map_or("direct".to_owned(), ToString::to_string)
    }

    #[test]
    fn each_scheme_has_its_proxy_and_this_machine_none() {
        let both = proxies("http://me:pw@one:3128", "https://two", "");
        for (url, expected) in [
            ("https://github.com/login", "http://one:3128"),
            ("http://collector.example.com:4318/v1/traces", "https://two:443"),
            ("http://localhost:4318/", "direct"),
            ("http://127.0.0.1:11434/v1", "direct"),
            ("http://127.8.9.1/", "direct"),
            ("https://[::1]:8443/", "direct"),
        ] {
            assert_eq!(route(&both, url), expected, "{url}");
        }
        let one = proxies("one:3128", "", "");
        assert_eq!(route(&one, "https://github.com/"), "http://one:3128");
        assert_eq!(route(&one, "http://collector.example.com/"), "direct");
        assert_eq!(route(&Proxies::default(), "https://github.com/"), "direct");
    }

    #[test]
    fn exceptions_are_reached_directly() {
        let list =
            " example.com, .corp.example, *.wild.example git.example:8443 10.0.0.0/8,fd00::1";
        let some = proxies("http://one:3128", "", list);
        for (url, is_direct) in [
            ("https://example.com/", true),
            ("https://a.example.com/", true),
            ("https://notexample.com/", false),
            ("https://a.corp.example/", true),
            ("https://a.wild.example/", true),
            ("https://git.example/", true),
            ("https://10.1.2.3/", true),
            ("https://11.1.2.3/", false),
            ("https://[fd00::1]/", true),
        ] {
            assert_eq!(route(&some, url) == "direct", is_direct, "{url}");
        }
        assert_eq!(route(&proxies("http://one:3128", "", "*"), "https://example.com/"), "direct");
    }

    #[test]
    fn credentials_do_not_print() {
        let proxies = proxies("http://me:hunter2@one:3128", "http://me:hunter2@two:3128", "x");
        let printed = format!("{proxies} {proxies:?}");
        assert!(!printed.contains("hunter2") && !printed.contains("me"), "{printed}");
        for bad in [
            "socks5://me:hunter2@one",
            "http://me:hunter2@one:3128/path",
            "http://me:hunt#er2@one",
            "http://",
            "ftp://hunter2",
        ] {
            let problem = ProxyUrl::parse(bad).unwrap_err();
            assert!(problem.starts_with("must ") && !problem.contains("hunter"), "{problem}");
        }
    }
}
