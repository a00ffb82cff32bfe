//! A server in a closed network: client metadata documents through a proxy, from the configuration,
//! or built in, and the errors if a site cannot be reached.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, atomic::Ordering},
};

use oauth::client::{self, Client, ClientError};
use platform::fetch::Unreachable;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use crate::{
    host::Reply,
    world::{PUBLIC, World, document},
};

const URL: &str = "https://app.example.com/client";
const CLAUDE_CODE: &str = "https://claude.ai/oauth/claude-code-client-metadata";

/// The `Basic` header with the credentials of the proxy in these tests.
const CREDENTIALS: &str = "proxy-authorization: Basic bWU6aHVudGVyMg==\r\n";

/// A proxy that accepts `CONNECT` from clients with these credentials, and connects every tunnel to
/// one host.
struct Proxy {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    /// The host to which tunnels lead. `None`: tunnels are refused.
    target: Arc<Mutex<Option<SocketAddr>>>,
    serving: JoinHandle<()>,
}

impl Proxy {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads: Arc<Mutex<Vec<String>>> = Arc::default();
        let target: Arc<Mutex<Option<SocketAddr>>> = Arc::default();
        let serving = tokio::spawn({
            let (heads, target) = (Arc::clone(&heads), Arc::clone(&target));
            async move {
                loop {
                    let (socket, _) = listener.accept().await.unwrap();
                    let (heads, target) = (Arc::clone(&heads), Arc::clone(&target));
                    tokio::spawn(tunnel(socket, heads, target));
                }
            }
        });
        Self { address, heads, target, serving }
    }

    fn url(&self) -> String {
        format!("http://me:hunter2@{}", self.address)
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }

    fn set_target(&self, host: Option<SocketAddr>) {
        *self.target.lock().unwrap() = host;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn tunnel(
    mut socket: TcpStream,
    heads: Arc<Mutex<Vec<String>>>,
    target: Arc<Mutex<Option<SocketAddr>>>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.unwrap());
    }
    let head =
        String::from_utf8(head).unwrap().replace("Proxy-Authorization", "proxy-authorization");
    heads.lock().unwrap().push(head.clone());
    let target = *target.lock().unwrap();
    let status = match target {
        _ if !head.contains(CREDENTIALS) => "407 Proxy Authentication Required",
        None => "403 Forbidden",
        Some(host) => {
            let mut upstream = TcpStream::connect(host).await.unwrap();
            socket.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
            drop(copy_bidirectional(&mut socket, &mut upstream).await);
            return;
        }
    };
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
    socket.write_all(answer.as_bytes()).await.unwrap();
}

async fn find(world: &World, url: &str) -> Result<Client, ClientError> {
    client::find(world.app.oauth(), url).await
}

async fn unreachable_reason(world: &World, url: &str) -> Unreachable {
    match find(world, url).await {
        Err(ClientError::Unreachable { why, .. }) => why,
        other => panic!("{other:?}"),
    }
}

/// Returns an address on which nothing listens.
async fn closed_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn each_failure_to_reach_a_site_has_its_own_reason() {
    let world = World::new().await;
    for addresses in [&[][..], &["10.0.0.1"], &[PUBLIC, "::1"]] {
        world.resolver.set("away.example.com", &[addresses]);
        assert_eq!(
            unreachable_reason(&world, "https://away.example.com/c").await,
            Unreachable::Name
        );
    }
    // A silent name server is distinguished from a silent site.
    assert_eq!(unreachable_reason(&world, "https://silent.example.com/c").await, Unreachable::Name);
    assert_eq!(
        unreachable_reason(&world, "https://elsewhere.example.com/c").await,
        Unreachable::Tls
    );
    world.documents.answer(|_| Reply::Silence);
    assert_eq!(unreachable_reason(&world, URL).await, Unreachable::TimedOut);
    world.resolver.route_to(closed_port().await);
    assert_eq!(unreachable_reason(&world, URL).await, Unreachable::Connection);
}

#[tokio::test]
async fn documents_are_fetched_through_the_proxy() {
    let proxy = Proxy::start().await;
    let world = World::with(&[("HTTPS_PROXY", &proxy.url())]).await;
    proxy.set_target(Some(world.documents.address));
    // If this server can resolve a name, the addresses are checked; if not, the proxy resolves it.
    world.resolver.set("other.example.com", &[&[]]);
    for url in [URL, "https://other.example.com/client"] {
        world.documents.answer(move |_| Reply::json(200, &document(url)));
        find(&world, url).await.unwrap();
    }
    let heads = proxy.heads();
    assert!(heads[0].starts_with("CONNECT app.example.com:443 HTTP/1.1\r\n"), "{heads:?}");
    assert!(heads[1].starts_with("CONNECT other.example.com:443 HTTP/1.1\r\n"), "{heads:?}");
    assert!(heads.iter().all(|head| head.contains(CREDENTIALS)), "{heads:?}");
    // The fake GitHub on loopback is reached without the proxy.
    let client = world.client(&["http://localhost/cb"]).await;
    let started = world.start_login(&client, "http://localhost/cb").await;
    world.finish_login(&started).await.unwrap();
    assert_eq!(proxy.heads().len(), 2);
}

#[tokio::test]
async fn internal_addresses_are_not_reached_through_the_proxy() {
    let proxy = Proxy::start().await;
    let world = World::with(&[("HTTPS_PROXY", &proxy.url())]).await;
    proxy.set_target(Some(world.documents.address));
    for internal in [&["10.0.0.1"][..], &["127.0.0.1"], &[PUBLIC, "fd00::1"]] {
        world.resolver.set("away.example.com", &[internal]);
        assert_eq!(
            unreachable_reason(&world, "https://away.example.com/c").await,
            Unreachable::Name
        );
    }
    for url in ["https://127.0.0.1/c", "https://intranet/c", "https://app.example.com:8443/c"] {
        assert!(matches!(find(&world, url).await, Err(ClientError::Refused(_))), "{url}");
    }
    assert!(proxy.heads().is_empty(), "the proxy received no request");

    // The error does not reveal how far the proxy got: a refusal, a wrong certificate and wrong
    // credentials give the same error.
    world.resolver.set("elsewhere.example.com", &[&[]]);
    assert_eq!(
        unreachable_reason(&world, "https://elsewhere.example.com/c").await,
        Unreachable::Proxy
    );
    proxy.set_target(None);
    assert_eq!(
        unreachable_reason(&world, "https://elsewhere.example.com/d").await,
        Unreachable::Proxy
    );
    let wrong = format!("http://me:wrong@{}", proxy.address);
    let world = World::with(&[("HTTPS_PROXY", &wrong)]).await;
    assert_eq!(unreachable_reason(&world, URL).await, Unreachable::Proxy);
}

#[tokio::test]
async fn hosts_in_no_proxy_are_reached_directly_and_checked() {
    let proxy = Proxy::start().await;
    let variables = [("HTTPS_PROXY", &*proxy.url()), ("NO_PROXY", "example.com")];
    let world = World::with(&variables).await;
    find(&world, URL).await.unwrap();
    world.resolver.set("away.example.com", &[&["10.0.0.1"]]);
    assert_eq!(unreachable_reason(&world, "https://away.example.com/c").await, Unreachable::Name);
    assert!(proxy.heads().is_empty());
}

#[tokio::test]
async fn a_configured_document_is_never_fetched() {
    let known = document(URL).to_string();
    for switch in ["on", "off"] {
        let variables = [("CLIENT_DOCUMENTS", &*known), ("CLIENT_METADATA_DOCUMENTS", switch)];
        let world = World::with(&variables).await;
        let client = find(&world, URL).await.unwrap();
        assert_eq!(client.name.as_str(), "Document App");
        assert_eq!(client::find_snapshot(world.app.oauth(), URL).await, Ok(client));
        assert_eq!(world.resolver.lookups.load(Ordering::Relaxed), 0, "{switch}");
    }
}

#[tokio::test]
async fn no_document_is_fetched_if_documents_are_off() {
    let world = World::new().await;
    let connected = find(&world, URL).await.unwrap();
    let app = world.another_with(&[("CLIENT_METADATA_DOCUMENTS", "off")]).await;
    let before = world.documents.connections();
    for url in [URL, "https://other.example.com/c", CLAUDE_CODE] {
        assert_eq!(client::find(app.oauth(), url).await, Err(ClientError::DocumentsOff), "{url}");
    }
    // Clients that were connected before remain connected.
    assert_eq!(client::find_snapshot(app.oauth(), URL).await, Ok(connected));
    assert_eq!(world.documents.connections(), before);
}

#[tokio::test]
async fn a_well_known_client_works_while_its_site_is_unreachable() {
    let world = World::new().await;
    world.resolver.set("claude.ai", &[&[]]);
    for _ in 0..20 {
        let client = find(&world, CLAUDE_CODE).await.unwrap();
        assert_eq!(client.name.as_str(), "Claude Code");
        assert!(
            client.redirect_uris.iter().any(|uri| uri.matches("http://localhost:53111/callback"))
        );
    }
    assert_eq!(
        world.resolver.lookups.load(Ordering::Relaxed),
        1,
        "the built-in document is cached for a minute"
    );
    // No other document of the site is built in.
    assert_eq!(
        unreachable_reason(&world, "https://claude.ai/oauth/other").await,
        Unreachable::Name
    );
    // A site with the certificate of another site counts as unreachable, too.
    let code = find(&world, "https://vscode.dev/oauth/client-metadata.json").await.unwrap();
    assert_eq!(code.name.as_str(), "Visual Studio Code");
    assert_eq!(world.documents.connections(), 1);
}

#[tokio::test]
async fn the_response_of_the_site_overrides_the_built_in_document() {
    let world = World::new().await;
    world.documents.answer(|_| Reply::Answer(404, "text/html", String::new()));
    let gone = find(&world, CLAUDE_CODE).await;
    assert!(matches!(gone, Err(ClientError::Refused(_))), "{gone:?}");
}
