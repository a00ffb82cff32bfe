//! A proxy between the instances of a cluster and PostgreSQL, which counts statements and closes the
//! connection at the n-th one, so that a test can lose the connection at each statement of a flow.
//!
//! It parses the protocol only into messages: each has a type of one byte and a length, except for those
//! before the session has begun, which have only a length.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use url::Url;

/// How the connection is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The statement does not arrive.
    Statement,
    /// The statement is executed, and its response does not arrive.
    Answer,
}

/// A running proxy. It stops when it is dropped.
#[derive(Debug)]
pub struct Wire {
    url: String,
    state: Arc<State>,
    running: JoinHandle<()>,
}

#[derive(Debug)]
struct State {
    server: SocketAddr,
    executed: AtomicU64,
    /// Number of statements that are forwarded before the break. Negative: no break.
    left: AtomicI64,
    lose_answer: std::sync::atomic::AtomicBool,
}

/// The code of `SSLRequest`, which the server declines and which precedes the startup message.
const SSL_REQUEST: u32 = 80_877_103;

/// Messages that execute statements: `Query` and `Execute`.
const STATEMENTS: [u8; 2] = [b'Q', b'E'];

impl Wire {
    /// Starts a proxy to a database, `postgres://…`.
    pub async fn to(database: &str) -> Self {
        let mut url = Url::parse(database).expect("it is the URL of a database");
        let server = url.socket_addrs(|| Some(5432)).expect("it names a server")[0];
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
        let port = listener.local_addr().expect("a bound listener has an address").port();
        url.set_port(Some(port)).expect("it names a host");
        let state = Arc::new(State {
            server,
            executed: AtomicU64::new(0),
            left: AtomicI64::new(-1),
            lose_answer: false.into(),
        });
        let running = tokio::spawn(accept(listener, Arc::clone(&state)));
        Self { url: url.into(), state, running }
    }

    /// The URL of the database through the proxy.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Number of statements so far.
    pub fn executed(&self) -> u64 {
        self.state.executed.load(Ordering::Relaxed)
    }

    /// Closes the connection at the statement that follows `after` others. Later connections work.
    pub fn break_after(&self, after: u32, loss: Loss) {
        self.state.lose_answer.store(loss == Loss::Answer, Ordering::Relaxed);
        self.state.left.store(after.into(), Ordering::Relaxed);
    }

    /// Forwards all statements again. Returns whether a connection was closed since
    /// [`break_after`](Self::break_after).
    pub fn mend(&self) -> bool {
        self.state.left.swap(-1, Ordering::Relaxed) < 0
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl State {
    /// Counts a statement. Returns whether the connection is closed at it.
    fn breaks_here(&self) -> bool {
        self.executed.fetch_add(1, Ordering::Relaxed);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
            (left >= 0).then_some(left - 1)
        }) == Ok(0)
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    while let Ok((socket, _)) = listener.accept().await {
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            if let Err(error) = connect(socket, &state).await {
                tracing::debug!(%error, "A connection to the database broke off");
            }
        });
    }
}

async fn connect(client: TcpStream, state: &State) -> io::Result<()> {
    let server = TcpStream::connect(state.server).await?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let answers = tokio::spawn(async move {
        tokio::io::copy(&mut from_server, &mut to_client).await?;
        to_client.shutdown().await
    });
    let asking = async {
        loop {
            let message = untyped(&mut from_client).await?;
            to_server.write_all(&message).await?;
            if message.get(4..8) != Some(&SSL_REQUEST.to_be_bytes()) {
                break;
            }
        }
        loop {
            let message = typed(&mut from_client).await?;
            if STATEMENTS.contains(&message[0]) && state.breaks_here() {
                if state.lose_answer.load(Ordering::Relaxed) {
                    answers.abort();
                    to_server.write_all(&message).await?;
                    // `Sync`, so that the server completes the statement.
                    to_server.write_all(b"S\0\0\0\x04").await?;
                }
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            to_server.write_all(&message).await?;
        }
    };
    let outcome: io::Result<()> = asking.await;
    to_server.shutdown().await?;
    answers.abort();
    outcome
}

/// Reads a message from before the session: a length, which includes itself, and the rest.
async fn untyped(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let length = from.read_u32().await?;
    let mut message = length.to_be_bytes().to_vec();
    message.resize(usize::try_from(length).unwrap_or(0).max(4), 0);
    from.read_exact(&mut message[4..]).await?;
    Ok(message)
}

/// Reads a message of the session: a type, then as [`untyped`].
async fn typed(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let kind = from.read_u8().await?;
    Ok([vec![kind], untyped(from).await?].concat())
}
