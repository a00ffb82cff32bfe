//! A TCP proxy between an instance and its Redis or database, which records requests, holds responses
//! and closes connections.

use std::sync::{Arc, Mutex};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

/// Forwards connections to a server until it is dropped.
pub struct Relay {
    port: u16,
    state: Arc<State>,
    _running: DropGuard,
}

struct State {
    server: String,
    /// Whether responses are forwarded.
    open: watch::Sender<bool>,
    /// What the instance has sent since the last call of [`Relay::asked`].
    asked: Mutex<Vec<u8>>,
    /// Text that, once sent by the instance, holds responses from then on.
    holds_at: Mutex<Option<String>>,
    /// `None` while new connections are refused.
    connections: Mutex<Option<Connections>>,
}

/// The open connections.
#[derive(Clone, Default)]
struct Connections {
    /// Closes them.
    end: CancellationToken,
    tasks: TaskTracker,
}

/// Size of a read buffer.
const CHUNK: usize = 64 * 1024;

impl Relay {
    /// Starts a proxy to a server at `redis://host:port` or `host:port`.
    pub async fn to(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
        let port = listener.local_addr().expect("a bound listener has an address").port();
        let state = Arc::new(State {
            server: url.trim_start_matches("redis://").to_owned(),
            open: watch::Sender::new(true),
            asked: Mutex::default(),
            holds_at: Mutex::default(),
            connections: Mutex::new(Some(Connections::default())),
        });
        let running = CancellationToken::new();
        let accepting = accept(listener, Arc::clone(&state));
        tokio::spawn(running.clone().run_until_cancelled_owned(accepting));
        Self { port, state, _running: running.drop_guard() }
    }

    /// The port of the proxy on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of the proxy, if the server is Redis.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Holds responses from now on, and clears the record of requests.
    pub fn hold(&self) {
        self.state.open.send_replace(false);
        self.asked();
    }

    /// Holds responses once the instance sends `what`: the server executes that request, and the instance
    /// gets no response.
    pub fn hold_once_asked(&self, what: impl Into<String>) {
        *self.state.holds_at.lock().expect("nobody panics with it") = Some(what.into());
    }

    /// Forwards responses again.
    pub fn release(&self) {
        self.state.open.send_replace(true);
    }

    /// Returns and clears what the instance has sent since the last call.
    pub fn asked(&self) -> String {
        let asked = std::mem::take(&mut *self.state.asked.lock().expect("nobody panics with it"));
        String::from_utf8_lossy(&asked).into_owned()
    }

    /// Closes all connections and refuses new ones, as if the server were down. Returns when the
    /// connections are closed, so that later responses are lost.
    pub async fn cut(&self) {
        if let Some(Connections { end, tasks }) = self.state.refuse() {
            end.cancel();
            tasks.close();
            tasks.wait().await;
        }
    }

    /// Accepts connections again.
    pub fn mend(&self) {
        let mut connections = self.state.connections.lock().expect("nobody panics with it");
        connections.get_or_insert_default();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(Connections { end, .. }) = self.state.refuse() {
            end.cancel();
        }
    }
}

impl State {
    /// Refuses new connections, and returns the open ones.
    fn refuse(&self) -> Option<Connections> {
        self.connections.lock().expect("nobody panics with it").take()
    }

    /// Records what was sent, before it is forwarded.
    fn note(&self, sent: &[u8]) {
        let mut asked = self.asked.lock().expect("nobody panics with it");
        asked.extend(sent);
        let mut holds_at = self.holds_at.lock().expect("nobody panics with it");
        let is_asked =
            |what: &mut String| asked.windows(what.len()).any(|it| it == what.as_bytes());
        if holds_at.take_if(is_asked).is_some() {
            self.open.send_replace(false);
        }
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    while let Ok((client, _)) = listener.accept().await {
        let connections = state.connections.lock().expect("nobody panics with it");
        let Some(Connections { end, tasks }) = &*connections else {
            continue; // dropped, so refused
        };
        let passing = pass(client, Arc::clone(&state));
        tasks.spawn(end.clone().run_until_cancelled_owned(passing));
    }
}

/// Forwards in both directions until one side closes.
async fn pass(client: TcpStream, state: Arc<State>) -> std::io::Result<()> {
    let mut server = TcpStream::connect(&state.server).await?;
    let mut client = client;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let there = async {
        let mut chunk = vec![0; CHUNK];
        loop {
            let read = from_client.read(&mut chunk).await?;
            if read == 0 {
                return Ok(());
            }
            state.note(&chunk[..read]);
            to_server.write_all(&chunk[..read]).await?;
        }
    };
    let back = async {
        let mut open = state.open.subscribe();
        let mut chunk = vec![0; CHUNK];
        loop {
            let read = from_server.read(&mut chunk).await?;
            if read == 0 || open.wait_for(|it| *it).await.is_err() {
                return Ok(());
            }
            to_client.write_all(&chunk[..read]).await?;
        }
    };
    tokio::select! {
        ended = there => ended,
        ended = back => ended,
    }
}
