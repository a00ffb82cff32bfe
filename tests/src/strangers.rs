//! Whatever strangers send to the endpoints of sign-in, who need no token for that: one instance, and
//! a way to send it bytes. The fuzz targets in `fuzz` and the tests of every run share it, so that
//! both hold the product to the same promise: an answer, never a 5xx, and never a panic, which would
//! be one.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use reqwest::{Method, RequestBuilder};
use serde_json::json;
use tokio::runtime::{Builder, Runtime};

use crate::{
    browser::{self, App, REDIRECT_URI, visitor},
    client::{ACCEPT, Page},
    cluster::{Cluster, Database, Setup},
    documents::{DocumentHost, Reply},
    github::GitHub,
};

/// The client that strangers pretend to be. It is in the configuration, so it never expires.
const CLIENT: &str = "an-app";

/// After each request: longer than it takes to get back one's share of anything.
const PAUSE: Duration = Duration::from_secs(6);

/// One instance that strangers talk to.
pub struct Strangers {
    runtime: Runtime,
    cluster: Cluster,
    host: DocumentHost,
    document: Arc<Mutex<Vec<u8>>>,
    serial: AtomicU64,
    _github: GitHub,
}

impl Default for Strangers {
    fn default() -> Self {
        Self::new()
    }
}

impl Strangers {
    /// Starts it.
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
        Self { runtime, cluster, host, document, serial: AtomicU64::new(0), _github: github }
    }

    /// The query of a request that is right, to begin from.
    pub fn good_query() -> String {
        let path = app(CLIENT.to_owned()).asks().path();
        path.split_once('?').map_or_else(String::new, |(_, query)| query.to_owned())
    }

    /// A query at `/authorize`. What cannot stand in an address is encoded.
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

    /// A form at `/token`, and at `/revoke`.
    pub fn exchange(&self, form: &[u8]) {
        for path in ["/token", "/revoke"] {
            let request = browser::post_request(self.cluster.web(0), path).body(form.to_vec());
            self.send(request, &String::from_utf8_lossy(form));
        }
    }

    /// The document of a client that nobody has seen before, and the same as a registration.
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

    /// The header of an access token at `/mcp`.
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

fn app(id: String) -> App {
    App { id, secret: None, redirect_uri: REDIRECT_URI.to_owned() }
}
