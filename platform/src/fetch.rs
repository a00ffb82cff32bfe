//! Fetches documents whose URLs come from requests, without server-side request forgery: a fetch
//! must not become a way into the internal network.
//!
//! The client chooses the URL, so nothing about it is trusted:
//!
//! - an [`Address`] is https, at a public name, without a port or a user name; this is checked
//!   before anything is resolved;
//! - the name is resolved once, all of its addresses are checked by [`non_public_ip`], and the
//!   connection goes to the checked addresses, so that a second DNS answer cannot differ (DNS
//!   rebinding);
//! - https only, no redirects, no cookies, no compression, and a limit each on time and size.
//!
//! Through a proxy ([`crate::proxies`]), the proxy resolves the name and connects. What remains of
//! the protection: the URL is checked as before; a name that this server can resolve as well must
//! not have an address that is not public; the tunnel leads to port 443, and nothing is read before
//! a certificate for the name has been verified; and the user who caused the request does not
//! learn how far the proxy got. A name that this server cannot resolve, as in a closed network, is
//! left to the proxy, which must therefore refuse addresses of the internal network.

use std::{
    error::Error,
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, OnceLock},
    time::Duration,
};

use async_trait::async_trait;
use reqwest::{
    StatusCode,
    dns::{Addrs, Name, Resolve, Resolving},
    header::{ACCEPT, ACCEPT_ENCODING, HeaderMap},
};
use tokio::time::Instant;
use url::Url;

use crate::{
    non_public_ip::{self, public_host},
    outgoing::{self, Answered, direct_client_builder},
    proxies::{Proxies, ProxyUrl},
};

/// The limit on connecting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The limit on a DNS lookup. Shorter than [`CONNECT_TIMEOUT`], so that a name server that does not
/// answer, as in a closed network, can be distinguished from a site that does not answer.
const LOOKUP_TIMEOUT: Duration = Duration::from_millis(1_500);

/// The port of https.
const HTTPS: u16 = 443;

/// The maximum number of addresses of a name to try.
const MAX_ADDRESSES: usize = 16;

/// The maximum length of a URL, in bytes.
const MAX_ADDRESS_BYTES: usize = 2_048;

/// Resolves names to addresses. The addresses are checked elsewhere; an implementation cannot
/// replace that check.
#[async_trait]
pub trait Resolver: Send + Sync + fmt::Debug {
    /// Returns all addresses of a name.
    async fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>>;

    /// Returns the socket address to connect to for an address that has passed the check. Tests
    /// override this to connect to their own server.
    fn route(&self, checked: IpAddr) -> SocketAddr {
        SocketAddr::new(checked, HTTPS)
    }
}

/// The resolver of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

#[async_trait]
impl Resolver for SystemResolver {
    async fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        // A trailing dot makes the name fully qualified: no search domain is tried.
        let found = tokio::net::lookup_host((format!("{host}."), HTTPS)).await?;
        Ok(found.map(|it| it.ip()).collect())
    }
}

/// A URL that may be fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address(Url);

/// Why a text is not a URL that may be fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAnAddress {
    /// Longer than 2,048 bytes.
    #[error("it is longer than 2048 characters")]
    TooLong,
    /// Not `https://`, or not a URL.
    #[error("it is not an https:// URL")]
    NotHttps,
    /// Contains `user:password@`.
    #[error("it contains a user name")]
    UserInfo,
    /// Contains a port other than 443.
    #[error("it contains a port")]
    Port,
    /// The host is an IP address, a name that only a local network knows, or the name of this
    /// server.
    #[error("its host is not a public host name, or is this server")]
    Host,
}

impl Address {
    /// Parses a URL and removes its fragment. `own_host` is the host of this server, which must not
    /// fetch from itself.
    pub fn parse(text: &str, own_host: &str) -> Result<Self, NotAnAddress> {
        use NotAnAddress as Error;

        if text.len() > MAX_ADDRESS_BYTES {
            return Err(Error::TooLong);
        }
        let mut url = Url::parse(text.trim()).map_err(|_not_a_url| Error::NotHttps)?;
        if url.scheme() != "https" {
            return Err(Error::NotHttps);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Error::UserInfo);
        }
        if url.port().is_some() {
            return Err(Error::Port);
        }
        let host = url.host_str().unwrap_or_default();
        match public_host(url.as_str(), host) {
            Some(host) if host != own_host => {}
            _ => return Err(Error::Host),
        }
        url.set_fragment(None);
        Ok(Self(url))
    }

    /// Returns the host of the URL.
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    /// Returns the URL as it is sent.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// Why a document could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The site was not reached, or the connection was lost. The cause may be the site or this
    /// server's network.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    /// The status is not 200; includes redirects.
    #[error("the site responded with {0} instead of 200 OK")]
    Status(StatusCode),
    /// The body exceeds the size limit.
    #[error("the document is too large")]
    TooLarge,
    /// This server cannot fetch any document.
    #[error("this server cannot fetch documents at the moment")]
    Unavailable,
}

/// The step at which a site was not reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreachable {
    /// The name has no address, or one that is not public; the error does not reveal which.
    #[error("there is no public address for this name (DNS)")]
    Name,
    /// No TCP connection.
    #[error("no connection to the site")]
    Connection,
    /// No TLS: most likely a certificate that is not trusted.
    #[error("the site's certificate or encryption cannot be trusted (TLS)")]
    Tls,
    /// The time limit was exceeded.
    #[error("the site did not respond in time")]
    TimedOut,
    /// The proxy, or the network behind it; the error does not reveal which.
    #[error("the proxy could not reach the site")]
    Proxy,
    /// The connection was lost before the response was complete.
    #[error("the connection was lost")]
    BrokenOff,
}

impl Unreachable {
    fn of(error: &reqwest::Error, proxied: bool) -> Self {
        match error {
            _ if error.is_timeout() => Self::TimedOut,
            _ if proxied && (error.is_connect() || is_tls(error)) => Self::Proxy,
            _ if error.is_dns() => Self::Name,
            _ if is_tls(error) => Self::Tls,
            _ if error.is_connect() => Self::Connection,
            _ => Self::BrokenOff,
        }
    }
}

/// Returns whether an error comes from TLS. Searches the chain of sources, including errors wrapped
/// in an I/O error.
fn is_tls(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let wraps_tls = wrapped.is_some_and(|inner| {
            let inner: &(dyn Error + 'static) = inner;
            inner.is::<rustls::Error>() || is_tls(inner)
        });
        if error.is::<rustls::Error>() || wraps_tls {
            return true;
        }
        next = error.source();
    }
    false
}

/// The limits of one fetch, and its `Accept` header.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The time limit, from the DNS lookup to the last byte.
    pub time: Duration,
    /// The maximum size of the body, in bytes.
    pub bytes: usize,
    /// The value of `Accept`.
    pub accept: &'static str,
}

/// Fetches documents. Shared by all clones of a service.
pub struct Fetcher {
    resolver: Arc<dyn Resolver>,
    /// Certificates in PEM to trust instead of those of the system.
    roots: Option<Arc<[u8]>>,
    proxies: Proxies,
    user_agent: String,
    /// Created at the first fetch: reading the certificates of the system takes a while.
    direct: Http,
    through_proxy: Http,
}

type Http = OnceLock<Result<reqwest::Client, String>>;

/// A response with status 200, whose body has not been read yet.
#[derive(Debug)]
pub struct Answer {
    answered: Answered,
    bytes: usize,
    proxied: bool,
}

impl Fetcher {
    /// Creates a fetcher. It trusts the certificates of the system, or `roots` if given, and sends
    /// `public_url` in its `User-Agent`, after the name of the program.
    pub fn new(
        resolver: Arc<dyn Resolver>,
        roots: Option<Arc<[u8]>>,
        proxies: Proxies,
        program: &str,
        public_url: &str,
    ) -> Self {
        Self {
            resolver,
            roots,
            proxies,
            user_agent: format!("{program}/{} (+{public_url})", env!("CARGO_PKG_VERSION")),
            direct: OnceLock::new(),
            through_proxy: OnceLock::new(),
        }
    }

    /// Requests a document. The URL must have been checked: by [`Address`], or by a type of its
    /// own.
    pub async fn get(&self, url: &str, bounds: Bounds) -> Result<Answer, FetchError> {
        let url = Url::parse(url).map_err(|_checked_before| FetchError::Unavailable)?;
        let proxy = self.proxies.for_url(&url);
        let began = Instant::now();
        if proxy.is_some() {
            self.refuse_non_public(&url).await?;
        }
        let request = self
            .http(proxy)?
            .get(url)
            .timeout(bounds.time.saturating_sub(began.elapsed()))
            .header(ACCEPT, bounds.accept)
            .header(ACCEPT_ENCODING, "identity");
        let proxied = proxy.is_some();
        let answered = outgoing::send(request).await.map_err(|error| {
            let why = Unreachable::of(&error, proxied);
            tracing::info!(error = ?error, %why, "Could not fetch a document");
            why
        })?;
        match answered.status() {
            StatusCode::OK => Ok(Answer { answered, bytes: bounds.bytes, proxied }),
            status => Err(FetchError::Status(status)),
        }
    }

    /// Refuses a name that is about to be given to a proxy, if this server can resolve it and one
    /// of its addresses is not public.
    async fn refuse_non_public(&self, url: &Url) -> Result<(), FetchError> {
        let host = url.host_str().unwrap_or_default();
        let looking = self.resolver.lookup(host);
        match tokio::time::timeout(LOOKUP_TIMEOUT, looking).await {
            Ok(Ok(addresses)) if non_public(host, &addresses) => Err(Unreachable::Name.into()),
            // A name that this server cannot resolve is resolved by the proxy.
            Ok(Ok(_) | Err(_)) | Err(_) => Ok(()),
        }
    }

    fn http(&self, proxy: Option<&ProxyUrl>) -> Result<&reqwest::Client, FetchError> {
        let http = if proxy.is_some() { &self.through_proxy } else { &self.direct };
        http.get_or_init(|| self.make_http(proxy).map_err(|error| format!("{error:#}")))
            .as_ref()
            .map_err(|error| {
                tracing::error!(%error, "Could not create the HTTP client for fetching documents");
                FetchError::Unavailable
            })
    }

    fn make_http(&self, proxy: Option<&ProxyUrl>) -> anyhow::Result<reqwest::Client> {
        let builder = match proxy {
            // The only name that is resolved here is that of the proxy, which the operator chose.
            Some(proxy) => proxy.apply_to_all(direct_client_builder())?,
            None => {
                direct_client_builder().dns_resolver(Arc::new(Checked(Arc::clone(&self.resolver))))
            }
        };
        let mut builder = builder
            .https_only(true)
            // A pooled connection would outlive the check of its address.
            .pool_max_idle_per_host(0)
            .connect_timeout(CONNECT_TIMEOUT)
            .user_agent(&self.user_agent);
        if let Some(roots) = &self.roots {
            builder = builder.tls_certs_only(reqwest::Certificate::from_pem_bundle(roots)?);
        }
        Ok(builder.build()?)
    }
}

impl fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fetcher")
    }
}

impl Answer {
    /// Returns the headers of the response.
    pub fn headers(&self) -> &HeaderMap {
        self.answered.headers()
    }

    /// Reads the whole body, within the limits on size and time.
    pub async fn body(self) -> Result<Vec<u8>, FetchError> {
        let body = self.answered.body(self.bytes).await;
        body.map_err(|error| Unreachable::of(&error, self.proxied))?.ok_or(FetchError::TooLarge)
    }
}

/// Resolves names to checked addresses only. A single address that is not public makes the whole
/// lookup fail: a name with both internal and public addresses is not trusted.
struct Checked(Arc<dyn Resolver>);

impl Resolve for Checked {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = Arc::clone(&self.0);
        Box::pin(async move {
            let looking = resolver.lookup(name.as_str());
            let addresses = tokio::time::timeout(LOOKUP_TIMEOUT, looking)
                .await
                .map_err(|_elapsed| NoAnswer)??;
            if addresses.is_empty() || non_public(name.as_str(), &addresses) {
                return Err(NotPublic.into());
            }
            let routes: Vec<_> =
                addresses.into_iter().take(MAX_ADDRESSES).map(|it| resolver.route(it)).collect();
            Ok(Box::new(routes.into_iter()) as Addrs)
        })
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the name has no address, or one that is not public")]
struct NotPublic;

#[derive(Debug, thiserror::Error)]
#[error("the name server does not answer within {LOOKUP_TIMEOUT:?}")]
struct NoAnswer;

/// Returns whether one of the addresses of a host is not public.
fn non_public(host: &str, addresses: &[IpAddr]) -> bool {
    let found = addresses
        .iter()
        .find_map(|address| non_public_ip::meaning(*address).map(|meaning| (address, meaning)));
    if let Some((address, meaning)) = found {
        tracing::info!(
            host, %address, meaning,
            "Refused to fetch a document: its host has an address that is not public"
        );
    }
    found.is_some()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Address, NotAnAddress> {
        Address::parse(text, "notes.example.com")
    }

    #[test]
    fn a_public_document_can_be_fetched() {
        for (good, sent) in [
            ("https://example.com", "https://example.com/"),
            ("https://example.com/a/notes.json?x=1#top", "https://example.com/a/notes.json?x=1"),
            (" https://Example.com:443/a ", "https://example.com/a"),
            ("https://example.com/ä b", "https://example.com/%C3%A4%20b"),
        ] {
            assert_eq!(parse(good).unwrap().as_str(), sent);
        }
    }

    #[test]
    fn other_urls_are_refused() {
        use NotAnAddress as E;
        for (bad, error) in [
            ("", E::NotHttps),
            ("notes.json", E::NotHttps),
            ("http://example.com/", E::NotHttps),
            ("file:///etc/passwd", E::NotHttps),
            ("https://me@example.com/", E::UserInfo),
            ("https://:pw@example.com/", E::UserInfo),
            ("https://example.com:8443/", E::Port),
            ("https://127.0.0.1/", E::Host),
            ("https://2130706433/", E::Host),
            ("https://0x7f.1/", E::Host),
            ("https://[::1]/", E::Host),
            ("https://localhost/", E::Host),
            ("https://printer.local/", E::Host),
            ("https://metadata.google.internal/", E::Host),
            ("https://example.com./", E::Host),
            ("https://intranet/", E::Host),
            ("https://notes.example.com/exports/x", E::Host),
            ("https://NOTES.example.com/", E::Host),
        ] {
            assert_eq!(parse(bad), Err(error), "{bad:?}");
        }
        assert_eq!(parse(&format!("https://example.com/{}", "a".repeat(2_048))), Err(E::TooLong));
    }

    proptest! {
        #[test]
        fn an_accepted_url_is_https_at_a_host_name(text in "(https://)?[ -~]{0,40}") {
            if let Ok(Address(url)) = parse(&text) {
                prop_assert_eq!(url.scheme(), "https");
                prop_assert_eq!(url.port_or_known_default(), Some(443));
                prop_assert!(matches!(url.host(), Some(url::Host::Domain(_))));
                prop_assert!(url.username().is_empty() && url.fragment().is_none());
            }
        }
    }
}
