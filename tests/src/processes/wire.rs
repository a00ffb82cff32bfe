//! A wire between a program and the server that it uses, which a test can cut or silence.

use std::{net::SocketAddr, sync::Arc};

use tokio::{
    io::{copy_bidirectional, sink},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
};

/// What a wire does with connections.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// Closes every connection at once, as when the server is gone.
    cut: bool,
    /// Passes nothing on, on new connections either, and closes none: a frozen server.
    frozen: bool,
    /// How often the connections of that time were silenced.
    silenced: u64,
}

/// Passes connections on to a server. Dropping it cuts it.
#[derive(Debug)]
pub struct Wire {
    address: SocketAddr,
    state: Arc<watch::Sender<State>>,
    running: JoinHandle<()>,
}

impl Wire {
    /// A wire to `server`, such as `127.0.0.1:5432`.
    pub async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
        let address = listener.local_addr().expect("it is bound");
        let state = Arc::new(watch::Sender::new(State::default()));
        let running = tokio::spawn(serve(listener, server, Arc::clone(&state)));
        Self { address, state, running }
    }

    /// Where programs connect to instead.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes every connection, and each new one at once.
    pub fn cut(&self) {
        self.state.send_modify(|it| it.cut = true);
    }

    /// Swallows from now on what is sent on the connections that are open, in both directions and
    /// without closing any; new ones work. So do a fail-over and a NAT that has forgotten.
    pub fn silence(&self) {
        self.state.send_modify(|it| it.silenced += 1);
    }

    /// Swallows what is sent on every connection, on new ones, too.
    pub fn freeze(&self) {
        self.state.send_modify(|it| {
            it.frozen = true;
            it.silenced += 1;
        });
    }

    /// Passes new connections on again.
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
            // Without it a chain of small packets waits for acknowledgements.
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
        // The server does not hear of the end either.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = swallow => {}
        _ = state.wait_for(|it| it.cut) => {}
    }
    drop(far);
}
