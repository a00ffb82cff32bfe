//! A TCP proxy between a program and a server, which a test can cut or silence.

use std::{net::SocketAddr, sync::Arc};

use tokio::{
    io::{copy_bidirectional, sink},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
};

/// What the proxy does with connections.
#[derive(Clone, Copy, Debug, Default)]
struct State {
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
        let state = Arc::new(watch::Sender::new(State::default()));
        let running = tokio::spawn(serve(listener, server, Arc::clone(&state)));
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

    /// Forwards new connections again.
    pub fn mend(&self) {
        self.state.send_modify(|it| {
            it.cut = false;
            it.frozen = false;
        });
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.running.abort();
    }
}

async fn serve(listener: TcpListener, server: SocketAddr, state: Arc<watch::Sender<State>>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((near, _)) = accepted else { continue };
                connections.spawn(pass(near, server, state.subscribe()));
            }
            Some(_ended) = connections.join_next() => {}
        }
    }
}

async fn pass(mut near: TcpStream, server: SocketAddr, mut state: watch::Receiver<State>) {
    let State { cut, frozen, silenced } = *state.borrow();
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
        tokio::select! {
            _ = copy_bidirectional(&mut near, &mut server) => return,
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
