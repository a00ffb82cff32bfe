//! Sends arbitrary bytes to the endpoints that need no token, those of sign-in. The fuzz targets in
//! `fuzz` and the tests share it, so that both require the same: a response that is never a 5xx, which
//! is also the response to a panic.

use std::{
    cell::RefCell,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use reqwest::{Method, RequestBuilder, header::HeaderValue};
use serde_json::json;
use tokio::runtime::{Builder, Runtime};

use crate::{
    browser::{self, Browser, ClientApp, REDIRECT_URI, visitor},
    client::{ACCEPT, Page},
    cluster::{Cluster, Database, Setup},
    documents::{DocumentHost, Reply},
    github::GitHub,
};

/// The client id of the requests. The client is in the configuration, so it never expires.
const CLIENT: &str = "an-app";

/// Time that passes after each request: long enough to restore every rate limit.
const PAUSE: Duration = Duration::from_secs(6);

/// One instance, and the requests to it.
pub struct Strangers {
    runtime: Runtime,
    cluster: Cluster,
    host: DocumentHost,
    document: Arc<Mutex<Vec<u8>>>,
    serial: AtomicU64,
    /// The value of the cookie of a session of the account page.
    session: RefCell<String>,
    _github: GitHub,
}

impl Default for Strangers {
    fn default() -> Self {
        Self::new()
    }
}

impl Strangers {
    /// Starts the instance.
    pub fn new() -> Self {
        let runtime =
            Builder::new_current_thread().enable_all().build().expect("a runtime can be built");
        let clients = json!([{
            "client_id": CLIENT, "client_name": "An app", "redirect_uris": [REDIRECT_URI],
        }]);
        let (cluster, host, github) = runtime.block_on(async {
            let (github, host) = (GitHub::start().await, DocumentHost::start().await);
            let setup = Setup::new(Database::Sqlite).with_github(&github).with_documents(&host);
            (setup.with("OAUTH_CLIENTS", clients.to_string()).start().await, host, github)
        });
        let document: Arc<Mutex<Vec<u8>>> = Arc::default();
        let served = Arc::clone(&document);
        host.answers(move |_| {
            Reply::Bytes(served.lock().unwrap_or_else(PoisonError::into_inner).clone())
        });
        Self {
            runtime,
            cluster,
            host,
            document,
            serial: AtomicU64::new(0),
            session: RefCell::default(),
            _github: github,
        }
    }

    /// The query of a valid authorization request, as a seed.
    pub fn good_query() -> String {
        let path = app(CLIENT.to_owned()).asks().path();
        path.split_once('?').map_or_else(String::new, |(_, query)| query.to_owned())
    }

    /// Sends a query to `/authorize`. Bytes that a URL cannot contain are percent-encoded.
    pub fn ask(&self, query: &[u8]) {
        let query: String = query
            .iter()
            .map(|&byte| match byte {
                b'!' | b'$'..=b'~' if byte != b'<' && byte != b'>' && byte != b'\\' => {
                    char::from(byte).to_string()
                }
                _ => format!("%{byte:02X}"),
            })
            .collect();
        self.send(self.request(Method::GET, &format!("/authorize?{query}")), &query);
    }

    /// Sends a form to `/token` and to `/revoke`.
    pub fn exchange(&self, form: &[u8]) {
        for path in ["/token", "/revoke"] {
            let request = browser::post_request(self.cluster.web(0), path).body(form.to_vec());
            self.send(request, &String::from_utf8_lossy(form));
        }
    }

    /// Serves the metadata document of a new client, and sends the same document to `/register`.
    pub fn introduce(&self, document: &[u8]) {
        *self.document.lock().unwrap_or_else(PoisonError::into_inner) = document.to_vec();
        let number = self.serial.fetch_add(1, Ordering::Relaxed);
        let shown = String::from_utf8_lossy(document);
        let asked = app(format!("https://n{number}.example.com/client")).asks();
        let fetched = self.host.requests();
        self.send(self.request(Method::GET, &asked.path()), &shown);
        assert_eq!(self.host.requests(), fetched + 1, "it was fetched: {shown}");
        let request = self.request(Method::POST, "/register");
        let request = request.header("content-type", "application/json").body(document.to_vec());
        self.send(request, &shown);
    }

    /// Sends an access token with this header to `/mcp`.
    pub fn present(&self, header: &[u8]) {
        let header = URL_SAFE_NO_PAD.encode(header);
        let (claims, signature) = (URL_SAFE_NO_PAD.encode("{}"), "A".repeat(86));
        let request = self
            .request(Method::POST, "/mcp")
            .bearer_auth(format!("{header}.{claims}.{signature}"))
            .header("accept", ACCEPT)
            .header("content-type", "application/json")
            .body(json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" }).to_string());
        let page = self.send(request, &header);
        assert_eq!(page.status, 401, "{header}");
    }

    /// Sends `Cookie` headers, one for each line, to the account page. The byte 1 stands for the value
    /// of the cookie of a signed-in session, which only a header with exactly this cookie opens.
    pub fn revisit(&self, headers: &[u8]) {
        let mut session = self.session.borrow_mut();
        let page = self.account(&[format!("session={session}").into_bytes()]);
        if !is_signed_in(&page) {
            // The first visit, or the session has expired.
            *session = self.sign_in();
        }
        let lines = headers.split(|&byte| byte == b'\n');
        let filled: Vec<Vec<u8>> = lines
            .map(|line| {
                let parts: Vec<&[u8]> = line.split(|&byte| byte == 1).collect();
                parts.join(session.as_bytes())
            })
            .collect();
        if filled.iter().any(|line| HeaderValue::from_bytes(line).is_err()) {
            return;
        }
        let page = self.account(&filled);
        assert_eq!(is_signed_in(&page), is_session(&filled, &session), "{filled:?}");
    }

    fn account(&self, cookies: &[Vec<u8>]) -> Page {
        let mut request = self.request(Method::GET, "/account");
        for cookie in cookies {
            request = request.header("cookie", cookie.as_slice());
        }
        self.send(request, "")
    }

    /// Signs in to the account page. Returns the value of the cookie.
    fn sign_in(&self) -> String {
        let browser = Browser::new(&self.cluster);
        let page = self.runtime.block_on(browser.account());
        assert!(is_signed_in(&page), "{}", page.text());
        let index = browser.cookies().iter().position(|name| name == "session");
        browser.secrets().swap_remove(index.expect("the page sets the cookie"))
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.cluster.web(0).request(method, path).header("x-forwarded-for", visitor())
    }

    fn send(&self, request: RequestBuilder, shown: &str) -> Page {
        let page = self.runtime.block_on(Page::read(request));
        self.cluster.clock().advance(PAUSE);
        assert!(!page.status.is_server_error(), "{} for {shown}", page.status);
        assert_ne!(page.status, 429, "nobody is refused for what others did");
        page
    }
}

fn is_signed_in(page: &Page) -> bool {
    page.text().contains("value=\"sign_out\"")
}

/// Returns whether the headers have one cookie of the session page, with this value (RFC 6265, section
/// 4.2.1).
fn is_session(headers: &[Vec<u8>], session: &str) -> bool {
    // A header that is not ASCII is ignored.
    let headers = headers.iter().filter(|header| header.is_ascii() && !header.contains(&0x7f));
    let pairs = headers.flat_map(|header| header.split(|&byte| byte == b';'));
    let mut values = pairs.filter_map(|pair| pair.trim_ascii().strip_prefix(b"session="));
    values.next() == Some(session.as_bytes()) && values.next().is_none()
}

fn app(id: String) -> ClientApp {
    ClientApp::known(id)
}
