//! A server in a closed network: documents of clients through a proxy, from the configuration, or built
//! in, and what is said when a site is out of reach.

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

/// `Basic` with the credentials that the tests configure.
const CREDENTIALS: &str = "proxy-authorization: Basic bWU6aHVudGVyMg==\r\n";

/// A proxy that takes `CONNECT` from clients with the credentials, and leads every tunnel to one host.
struct Proxy {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    /// Where tunnels lead; nowhere: each is refused.
    leads_to: Arc<Mutex<Option<SocketAddr>>>,
    serving: JoinHandle<()>,
}

impl Proxy {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads: Arc<Mutex<Vec<String>>> = Arc::default();
        let leads_to: Arc<Mutex<Option<SocketAddr>>> = Arc::default();
        let serving = tokio::spawn({
            let (heads, leads_to) = (Arc::clone(&heads), Arc::clone(&leads_to));
            async move {
                loop {
                    let (socket, _) = listener.accept().await.unwrap();
                    let (heads, leads_to) = (Arc::clone(&heads), Arc::clone(&leads_to));
                    tokio::spawn(tunnel(socket, heads, leads_to));
                }
            }
        });
        Self { address, heads, leads_to, serving }
    }

    fn url(&self) -> String {
        format!("http://me:hunter2@{}", self.address)
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }

    fn leads_to(&self, host: Option<SocketAddr>) {
        *self.leads_to.lock().unwrap() = host;
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
    leads_to: Arc<Mutex<Option<SocketAddr>>>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.unwrap());
    }
    let head =
        String::from_utf8(head).unwrap().replace("Proxy-Authorization", "proxy-authorization");
    heads.lock().unwrap().push(head.clone());
    let leads_to = *leads_to.lock().unwrap();
    let status = match leads_to {
        _ if !head.contains(CREDENTIALS) => "407 Proxy Authentication Required",
        None => "403 Forbidden",
        Some(host) => {
            let mut far = TcpStream::connect(host).await.unwrap();
            socket.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
            drop(copy_bidirectional(&mut socket, &mut far).await);
            return;
        }
    };
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
    socket.write_all(answer.as_bytes()).await.unwrap();
}

async fn find(world: &World, url: &str) -> Result<Client, ClientError> {
    client::find(world.app.oauth(), url).await
}

async fn why(world: &World, url: &str) -> Unreachable {
    match find(world, url).await {
        Err(ClientError::Unreachable { why, .. }) => why,
        other => panic!("{other:?}"),
    }
}

/// A port without a listener.
async fn closed_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn each_step_on_the_way_to_a_site_has_its_name() {
    let world = World::new().await;
    for addresses in [&[][..], &["10.0.0.1"], &[PUBLIC, "::1"]] {
        world.names.set("away.example.com", &[addresses]);
        assert_eq!(why(&world, "https://away.example.com/c").await, Unreachable::Name);
    }
    // A name server that says nothing is not a site that says nothing.
    assert_eq!(why(&world, "https://silent.example.com/c").await, Unreachable::Name);
    assert_eq!(why(&world, "https://elsewhere.example.com/c").await, Unreachable::Tls);
    world.documents.answer(|_| Reply::Silence);
    assert_eq!(why(&world, URL).await, Unreachable::TimedOut);
    world.names.lead_to(closed_port().await);
    assert_eq!(why(&world, URL).await, Unreachable::Connection);
}

#[tokio::test]
async fn documents_come_through_a_proxy() {
    let proxy = Proxy::start().await;
    let world = World::with(&[("HTTPS_PROXY", &proxy.url())]).await;
    proxy.leads_to(Some(world.documents.address));
    // What this server can resolve is checked; what it cannot is left to the proxy.
    world.names.set("other.example.com", &[&[]]);
    for url in [URL, "https://other.example.com/client"] {
        world.documents.answer(move |_| Reply::json(200, &document(url)));
        find(&world, url).await.unwrap();
    }
    let heads = proxy.heads();
    assert!(heads[0].starts_with("CONNECT app.example.com:443 HTTP/1.1\r\n"), "{heads:?}");
    assert!(heads[1].starts_with("CONNECT other.example.com:443 HTTP/1.1\r\n"), "{heads:?}");
    assert!(heads.iter().all(|it| it.contains(CREDENTIALS)), "{heads:?}");
    // A GitHub on this machine is asked without the proxy.
    let client = world.client(&["http://localhost/cb"]).await;
    let hop = world.at_github(&client, "http://localhost/cb").await;
    world.back(&hop).await.unwrap();
    assert_eq!(proxy.heads().len(), 2);
}

#[tokio::test]
async fn a_proxy_is_no_way_inside() {
    let proxy = Proxy::start().await;
    let world = World::with(&[("HTTPS_PROXY", &proxy.url())]).await;
    proxy.leads_to(Some(world.documents.address));
    for inside in [&["10.0.0.1"][..], &["127.0.0.1"], &[PUBLIC, "fd00::1"]] {
        world.names.set("away.example.com", &[inside]);
        assert_eq!(why(&world, "https://away.example.com/c").await, Unreachable::Name);
    }
    for url in ["https://127.0.0.1/c", "https://intranet/c", "https://app.example.com:8443/c"] {
        assert!(matches!(find(&world, url).await, Err(ClientError::Refused(_))), "{url}");
    }
    assert!(proxy.heads().is_empty(), "the proxy was not even asked");

    // The answer does not tell how far the proxy got: refused, no such certificate, and wrong credentials
    // all look alike.
    world.names.set("elsewhere.example.com", &[&[]]);
    assert_eq!(why(&world, "https://elsewhere.example.com/c").await, Unreachable::Proxy);
    proxy.leads_to(None);
    assert_eq!(why(&world, "https://elsewhere.example.com/d").await, Unreachable::Proxy);
    let wrong = format!("http://me:wrong@{}", proxy.address);
    let world = World::with(&[("HTTPS_PROXY", &wrong)]).await;
    assert_eq!(why(&world, URL).await, Unreachable::Proxy);
}

#[tokio::test]
async fn an_exception_is_reached_directly_and_checked_as_ever() {
    let proxy = Proxy::start().await;
    let variables = [("HTTPS_PROXY", &*proxy.url()), ("NO_PROXY", "example.com")];
    let world = World::with(&variables).await;
    find(&world, URL).await.unwrap();
    world.names.set("away.example.com", &[&["10.0.0.1"]]);
    assert_eq!(why(&world, "https://away.example.com/c").await, Unreachable::Name);
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
        assert_eq!(world.names.lookups.load(Ordering::Relaxed), 0, "{switch}");
    }
}

#[tokio::test]
async fn where_documents_are_off_none_is_fetched() {
    let world = World::new().await;
    let connected = find(&world, URL).await.unwrap();
    let app = world.another_with(&[("CLIENT_METADATA_DOCUMENTS", "off")]).await;
    let before = world.documents.connections();
    for url in [URL, "https://other.example.com/c", CLAUDE_CODE] {
        assert_eq!(client::find(app.oauth(), url).await, Err(ClientError::DocumentsOff), "{url}");
    }
    // Who was connected before stays so.
    assert_eq!(client::find_snapshot(app.oauth(), URL).await, Ok(connected));
    assert_eq!(world.documents.connections(), before);
}

#[tokio::test]
async fn a_well_known_client_gets_in_while_its_site_is_out_of_reach() {
    let world = World::new().await;
    world.names.set("claude.ai", &[&[]]);
    for _ in 0..20 {
        let client = find(&world, CLAUDE_CODE).await.unwrap();
        assert_eq!(client.name.as_str(), "Claude Code");
        assert!(
            client.redirect_uris.iter().any(|it| it.matches("http://localhost:53111/callback"))
        );
    }
    assert_eq!(world.names.lookups.load(Ordering::Relaxed), 1, "it is kept for a minute");
    // Any other document there is out of reach.
    assert_eq!(why(&world, "https://claude.ai/oauth/other").await, Unreachable::Name);
    // A site with a certificate that is not its own is out of reach as well.
    let code = find(&world, "https://vscode.dev/oauth/client-metadata.json").await.unwrap();
    assert_eq!(code.name.as_str(), "Visual Studio Code");
    assert_eq!(world.documents.connections(), 1);
}

#[tokio::test]
async fn a_document_of_its_own_site_counts_more_than_a_built_in_one() {
    let world = World::new().await;
    world.documents.answer(|_| Reply::Answer(404, "text/html", String::new()));
    let gone = find(&world, CLAUDE_CODE).await;
    assert!(matches!(gone, Err(ClientError::Refused(_))), "{gone:?}");
}
