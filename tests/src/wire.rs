//! The wire between the instances of a cluster and PostgreSQL: it counts the statements that go over
//! it, and breaks where a test says, at the n-th statement, so that each statement of a flow can be
//! the one at which the connection is lost.
//!
//! Understands as much of the protocol as it takes to tell messages apart: each has a type of one
//! byte and a length, except for those before the session has begun.

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
    /// The statement is executed, and its answer does not arrive.
    Answer,
}

/// A running wire. It ends when it is dropped.
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
    /// How many more statements get through; negative when all do.
    left: AtomicI64,
    lose_answer: std::sync::atomic::AtomicBool,
}

/// The request for TLS, which our server declines: it comes before the session.
const SSL_REQUEST: u32 = 80_877_103;

/// Messages that make the server do something: `Query` and `Execute`.
const STATEMENTS: [u8; 2] = [b'Q', b'E'];

impl Wire {
    /// A wire to a database, given as `postgres://…`.
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

    /// The database at the other end, as seen from this one.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// How many statements have come by.
    pub fn executed(&self) -> u64 {
        self.state.executed.load(Ordering::Relaxed)
    }

    /// The connection of the statement that comes after `after` others is lost; the next one holds.
    pub fn break_after(&self, after: u32, loss: Loss) {
        self.state.lose_answer.store(loss == Loss::Answer, Ordering::Relaxed);
        self.state.left.store(after.into(), Ordering::Relaxed);
    }

    /// Lets everything through again. Says whether a connection was lost since
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
    /// Whether this statement is the one.
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
                    // `Sync`, so that what was executed is done and not only asked for.
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

/// A message of the time before the session: a length, which counts itself, and the rest.
async fn untyped(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let length = from.read_u32().await?;
    let mut message = length.to_be_bytes().to_vec();
    message.resize(usize::try_from(length).unwrap_or(0).max(4), 0);
    from.read_exact(&mut message[4..]).await?;
    Ok(message)
}

/// A message of the session: a type, and the rest as above.
async fn typed(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let kind = from.read_u8().await?;
    Ok([vec![kind], untyped(from).await?].concat())
}
