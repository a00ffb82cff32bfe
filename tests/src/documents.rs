//! The web sites of clients: one host with TLS for all of them, for the documents that say who a
//! client is, and a resolver of names that leads there and counts.
//!
//! The host says whatever a test wants, also what no good host says. The resolver answers with
//! addresses of the internet unless a test says otherwise; only the check of the product stands
//! between such an answer and a connection, which always ends at this host.

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

/// The client that most tests are about.
pub const CLIENT: &str = "https://app.example.com/client";

/// The hosts that the certificate is good for: each has a share of its own of what is fetched.
const HOSTS: &str = "*.example.com";

/// An address of the internet, where every host is unless a test says otherwise.
pub const PUBLIC: &str = "93.184.216.34";

/// What a host sends back.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Status 200 and this.
    Json(Value),
    /// Status 200 and this, which claims to be JSON.
    Bytes(Vec<u8>),
    /// A status, further lines of the head, and a body.
    With(u16, &'static str, String),
    /// Nothing, and the connection stays open.
    Silence,
    /// A body without end.
    Endless,
}

type Answers = dyn Fn(&str) -> Reply + Send + Sync;

/// A running host. It ends when it is dropped.
pub struct DocumentHost {
    state: Arc<State>,
    roots: Arc<[u8]>,
    running: JoinHandle<()>,
}

struct State {
    address: SocketAddr,
    answers: Mutex<Arc<Answers>>,
    /// The answers to the next questions for a name; the last one holds on.
    names: Mutex<HashMap<String, Vec<Vec<IpAddr>>>>,
    lookups: AtomicUsize,
    connections: AtomicUsize,
    requests: AtomicUsize,
}

impl DocumentHost {
    /// One that serves a good document at every path.
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

    /// From now on it says this, whatever the address.
    pub fn serves(&self, reply: Reply) {
        self.answers(move |_| reply.clone());
    }

    /// From now on it answers for an address like this.
    pub fn answers(&self, answers: impl Fn(&str) -> Reply + Send + Sync + 'static) {
        *lock(&self.state.answers) = Arc::new(answers);
    }

    /// The addresses of a name: one list for each of the next questions, and the last one for all
    /// that follow.
    pub fn resolves(&self, name: &str, answers: &[&[&str]]) {
        let address = |it: &&str| it.parse().expect("the test writes addresses");
        let answers = answers.iter().map(|it| it.iter().map(address).collect()).collect();
        lock(&self.state.names).insert(name.to_owned(), answers);
    }

    /// How often a name was asked for.
    pub fn lookups(&self) -> usize {
        self.state.lookups.load(Ordering::Relaxed)
    }

    /// How often somebody has connected, whatever came of it.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::Relaxed)
    }

    /// How often a document was asked for.
    pub fn requests(&self) -> usize {
        self.state.requests.load(Ordering::Relaxed)
    }

    /// The resolver that leads here.
    pub fn resolver(&self) -> Arc<dyn Resolver> {
        Arc::new(Names(Arc::clone(&self.state)))
    }

    /// The certificate to trust.
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

/// A document of a client at [`REDIRECT_URI`] that says the right things about its own address.
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

/// Answers one request. Whoever asked may go away at any time.
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

/// The address that a request without a body is for.
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
