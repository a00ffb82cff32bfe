//! A TCP proxy between a program and a server, which a test can cut, silence, slow down, and lead to
//! another server.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, sink},
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep_until},
};

/// Size of a read buffer.
const CHUNK: usize = 64 * 1024;

/// The maximum number of delayed parts in one direction of a connection.
const MAX_DELAYED: usize = 1_024;

/// What the proxy does with connections.
#[derive(Clone, Copy, Debug)]
struct State {
    /// Where new connections lead.
    server: SocketAddr,
    /// The time that data needs in each direction.
    delay: Duration,
    /// Every connection is closed at once, as if the server were down.
    cut: bool,
    /// No connection is closed and no data is forwarded, also on new connections, as if the server had
    /// frozen.
    frozen: bool,
    /// How often [`Wire::silence`] was called; older connections are silent.
    silenced: u64,
}

/// Forwards connections to a server until it is dropped.
#[derive(Debug)]
pub struct Wire {
    address: SocketAddr,
    state: Arc<watch::Sender<State>>,
    running: JoinHandle<()>,
}

impl Wire {
    /// Starts a proxy to `server`, such as `127.0.0.1:5432`.
    pub async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
        let address = listener.local_addr().expect("it is bound");
        let state = State { server, delay: Duration::ZERO, cut: false, frozen: false, silenced: 0 };
        let state = Arc::new(watch::Sender::new(state));
        let running = tokio::spawn(serve(listener, Arc::clone(&state)));
        Self { address, state, running }
    }

    /// The address to which programs connect instead of the server.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes every connection, and each new one as soon as it is accepted.
    pub fn cut(&self) {
        self.state.send_modify(|it| it.cut = true);
    }

    /// Discards from now on what is sent on the open connections, in both directions, and closes none of
    /// them; new connections work. This is how connections look after a failover, or after a NAT has
    /// dropped its state.
    pub fn silence(&self) {
        self.state.send_modify(|it| it.silenced += 1);
    }

    /// Discards what is sent on every connection, including new ones.
    pub fn freeze(&self) {
        self.state.send_modify(|it| {
            it.frozen = true;
            it.silenced += 1;
        });
    }

    /// Delivers data in each direction only after this time, so that a round trip takes twice as long.
    pub fn delay(&self, delay: Duration) {
        self.state.send_modify(|it| it.delay = delay);
    }

    /// Leads new connections to another server. Open connections stay.
    pub fn lead_to(&self, server: SocketAddr) {
        self.state.send_modify(|it| it.server = server);
    }

    /// Forwards new connections again, without a delay.
    pub fn mend(&self) {
        self.state.send_modify(|it| {
            it.cut = false;
            it.frozen = false;
            it.delay = Duration::ZERO;
        });
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.running.abort();
    }
}

async fn serve(listener: TcpListener, state: Arc<watch::Sender<State>>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((near, _)) = accepted else { continue };
                connections.spawn(pass(near, state.subscribe()));
            }
            Some(_ended) = connections.join_next() => {}
        }
    }
}

async fn pass(mut near: TcpStream, mut state: watch::Receiver<State>) {
    let State { server, cut, frozen, silenced, .. } = *state.borrow();
    if cut {
        return;
    }
    let mut far = None;
    if !frozen {
        let Ok(mut server) = TcpStream::connect(server).await else { return };
        for side in [&near, &server] {
            // Otherwise Nagle's algorithm delays small packets.
            drop(side.set_nodelay(true));
        }
        let now = state.clone();
        tokio::select! {
            () = forward(&mut near, &mut server, &now) => return,
            changed = state.wait_for(|it| it.cut || it.silenced > silenced) => {
                if changed.is_err() {
                    return;
                }
            }
        }
        far = Some(server);
    }
    let swallow = async {
        drop(tokio::io::copy(&mut near, &mut sink()).await);
        // The connection to the server stays open, too.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = swallow => {}
        _ = state.wait_for(|it| it.cut) => {}
    }
    drop(far);
}

/// Forwards data in both directions until both sides have ended.
async fn forward(near: &mut TcpStream, far: &mut TcpStream, state: &watch::Receiver<State>) {
    let (from_near, to_near) = near.split();
    let (from_far, to_far) = far.split();
    tokio::join!(carry(from_near, to_far, state), carry(from_far, to_near, state));
}

/// Forwards data in one direction until its sender has ended, each part after the delay of that time.
async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    state: &watch::Receiver<State>,
) {
    let (sender, mut parts) = mpsc::channel::<(Instant, Vec<u8>)>(MAX_DELAYED);
    let reading = async move {
        let mut chunk = vec![0; CHUNK];
        while let Ok(read @ 1..) = from.read(&mut chunk).await {
            let due = Instant::now() + state.borrow().delay;
            if sender.send((due, chunk[..read].to_vec())).await.is_err() {
                break;
            }
        }
    };
    let writing = async move {
        while let Some((due, part)) = parts.recv().await {
            sleep_until(due).await;
            if to.write_all(&part).await.is_err() {
                break;
            }
        }
        drop(to.shutdown().await);
    };
    tokio::join!(reading, writing);
}
