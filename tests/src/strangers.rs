//! Sends arbitrary bytes to the endpoints that need no token, those of sign-in. The fuzz targets in
//! `fuzz` and the tests share it, so that both require the same: a response that is never a 5xx, which
//! is also the response to a panic.

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
    browser::{self, ClientApp, REDIRECT_URI, visitor},
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
        Self { runtime, cluster, host, document, serial: AtomicU64::new(0), _github: github }
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

fn app(id: String) -> ClientApp {
    ClientApp::known(id)
}
