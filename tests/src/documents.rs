//! A TLS host that serves client metadata documents for all client domains, and a DNS resolver that
//! counts its queries.
//!
//! A test chooses the responses of the host, including malformed ones. The resolver answers with public
//! addresses unless a test sets others. The product checks the resolved addresses; a connection to any
//! of them ends at this host.

use std::{
    collections::HashMap,
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use oauth::cimd::Resolver;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, pki_types::PrivateKeyDer},
};

use crate::browser::REDIRECT_URI;

/// The client id, the address of its metadata document, in most tests.
pub const CLIENT: &str = "https://app.example.com/client";

/// The hosts of the certificate. The product limits fetches for each host.
const HOSTS: &str = "*.example.com";

/// A public address, to which every name resolves unless a test sets others.
pub const PUBLIC: &str = "93.184.216.34";

/// A response of the host.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Status 200 with this JSON.
    Json(Value),
    /// Status 200 with this body and the content type of JSON.
    Bytes(Vec<u8>),
    /// A status, further header lines, and a body.
    With(u16, &'static str, String),
    /// No response; the connection stays open.
    Silence,
    /// An endless body.
    Endless,
}

type Answers = dyn Fn(&str) -> Reply + Send + Sync;

/// A running host. It stops when it is dropped.
pub struct DocumentHost {
    state: Arc<State>,
    roots: Arc<[u8]>,
    running: JoinHandle<()>,
}

struct State {
    address: SocketAddr,
    answers: Mutex<Arc<Answers>>,
    /// The answers to the next queries for a name; the last one is repeated.
    names: Mutex<HashMap<String, Vec<Vec<IpAddr>>>>,
    lookups: AtomicUsize,
    connections: AtomicUsize,
    requests: AtomicUsize,
}

impl DocumentHost {
    /// Starts a host that serves a valid document at every path.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
        let made = rcgen::generate_simple_self_signed([HOSTS.to_owned()])
            .expect("a certificate can be made");
        let key =
            PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("the key is in DER");
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("the key belongs to the certificate");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let state = Arc::new(State {
            address: listener.local_addr().expect("a bound listener has an address"),
            answers: Mutex::new(Arc::new(|url: &str| Reply::Json(document(url)))),
            names: Mutex::default(),
            lookups: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
        });
        let running = tokio::spawn(accept(listener, acceptor, Arc::clone(&state)));
        Self { state, roots: made.cert.pem().into_bytes().into(), running }
    }

    /// Sets the response to every request.
    pub fn serves(&self, reply: Reply) {
        self.answers(move |_| reply.clone());
    }

    /// Sets the function that maps a URL to a response.
    pub fn answers(&self, answers: impl Fn(&str) -> Reply + Send + Sync + 'static) {
        *lock(&self.state.answers) = Arc::new(answers);
    }

    /// Sets the addresses of a name: one list for each of the next queries; the last one is repeated.
    pub fn resolves(&self, name: &str, answers: &[&[&str]]) {
        let address = |it: &&str| it.parse().expect("the test writes addresses");
        let answers = answers.iter().map(|it| it.iter().map(address).collect()).collect();
        lock(&self.state.names).insert(name.to_owned(), answers);
    }

    /// Number of DNS queries.
    pub fn lookups(&self) -> usize {
        self.state.lookups.load(Ordering::Relaxed)
    }

    /// Number of connections, including failed ones.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::Relaxed)
    }

    /// Number of requests for a document.
    pub fn requests(&self) -> usize {
        self.state.requests.load(Ordering::Relaxed)
    }

    /// The resolver.
    pub fn resolver(&self) -> Arc<dyn Resolver> {
        Arc::new(Names(Arc::clone(&self.state)))
    }

    /// The root certificates with which the certificate of the host is valid.
    pub fn roots(&self) -> Arc<[u8]> {
        Arc::clone(&self.roots)
    }
}

impl fmt::Debug for DocumentHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DocumentHost")
    }
}

impl Drop for DocumentHost {
    fn drop(&mut self) {
        self.running.abort();
    }
}

/// A valid metadata document at this address, with the redirect URI [`REDIRECT_URI`].
pub fn document(url: &str) -> Value {
    json!({
        "client_id": url,
        "client_name": "Document App",
        "redirect_uris": [REDIRECT_URI],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics with it")
}

struct Names(Arc<State>);

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Names")
    }
}

#[async_trait]
impl Resolver for Names {
    async fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        self.0.lookups.fetch_add(1, Ordering::Relaxed);
        let mut names = lock(&self.0.names);
        Ok(match names.get_mut(host) {
            None => vec![PUBLIC.parse().expect("it is an address")],
            Some(answers) if answers.len() > 1 => answers.remove(0),
            Some(answers) => answers[0].clone(),
        })
    }

    fn route(&self, _: IpAddr) -> SocketAddr {
        self.0.address
    }
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, state: Arc<State>) {
    while let Ok((socket, _)) = listener.accept().await {
        state.connections.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(connection(socket, acceptor.clone(), Arc::clone(&state)));
    }
}

/// Answers one request. The client may disconnect at any time.
async fn connection(socket: TcpStream, acceptor: TlsAcceptor, state: Arc<State>) {
    let answered = async {
        let mut socket = acceptor.accept(socket).await?;
        if let Some(url) = address(&mut socket).await? {
            state.requests.fetch_add(1, Ordering::Relaxed);
            let answers = Arc::clone(&lock(&state.answers));
            send(&mut socket, answers(&url)).await?;
        }
        socket.shutdown().await
    };
    if let Err(error) = answered.await {
        tracing::debug!(%error, "A connection to a client's host broke off");
    }
}

/// Reads a request without a body and returns its URL. `None` if the connection is closed before.
async fn address(socket: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<String>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if socket.read_buf(&mut head).await? == 0 {
            return Ok(None);
        }
    }
    let head = String::from_utf8_lossy(&head);
    let path = head.split(' ').nth(1);
    let host = head.lines().find_map(|it| it.strip_prefix("host: "));
    Ok(path.zip(host).map(|(path, host)| format!("https://{host}{path}")))
}

async fn send(socket: &mut (impl AsyncWrite + Unpin), reply: Reply) -> io::Result<()> {
    let json = "content-type: application/json\r\n";
    let (status, head, body) = match reply {
        Reply::Json(value) => (200, json, value.to_string().into_bytes()),
        Reply::Bytes(body) => (200, json, body),
        Reply::With(status, head, body) => (status, head, body.into_bytes()),
        Reply::Silence => return std::future::pending().await,
        Reply::Endless => {
            let head = format!("HTTP/1.1 200 OK\r\n{json}\r\n");
            socket.write_all(head.as_bytes()).await?;
            loop {
                socket.write_all(&[b' '; 1024]).await?;
            }
        }
    };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} Status\r\n{head}content-length: {length}\r\nconnection: close\r\n\r\n"
    );
    socket.write_all(&[head.into_bytes(), body].concat()).await
}
