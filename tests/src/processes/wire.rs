//! A wire between a program and the server that it uses, which a test can cut.

use std::{net::SocketAddr, sync::Arc};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
};

/// What a wire does with connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Passes everything on.
    #[default]
    Whole,
    /// Closes every connection at once, as when the server is gone.
    Cut,
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
        self.state.send_replace(State::Cut);
    }

    /// Passes connections on again.
    pub fn mend(&self) {
        self.state.send_replace(State::Whole);
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
                let Ok((mut near, _)) = accepted else { continue };
                let mut state = state.subscribe();
                connections.spawn(async move {
                    if *state.borrow() == State::Cut {
                        return;
                    }
                    let Ok(mut far) = TcpStream::connect(server).await else { return };
                    for side in [&near, &far] {
                        // Without it a chain of small packets waits for acknowledgements.
                        drop(side.set_nodelay(true));
                    }
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        _ = state.wait_for(|it| *it == State::Cut) => {}
                    }
                });
            }
            Some(_ended) = connections.join_next() => {}
        }
    }
}
