//! A small HTTP/1.1 server on loopback, with or without TLS, with configurable responses.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

/// A received request.
#[derive(Clone, Debug)]
pub(crate) struct ReceivedRequest {
    pub(crate) method: String,
    pub(crate) target: String,
    /// The request line and the headers, in lower case.
    pub(crate) head: String,
    pub(crate) body: String,
}

/// A response.
#[derive(Clone)]
pub(crate) enum Reply {
    /// A complete response: status, content type, body.
    Answer(u16, &'static str, String),
    /// A complete response: status, header lines, body.
    With(u16, &'static str, String),
    /// No response, and the connection stays open.
    Silence,
    /// The headers, then one byte every 100 ms.
    Trickle,
    /// A body without end.
    Endless,
}

impl Reply {
    pub(crate) fn json(status: u16, body: &serde_json::Value) -> Self {
        Self::Answer(status, "application/json", body.to_string())
    }
}

type Answers = dyn Fn(&ReceivedRequest) -> Reply + Send + Sync;

/// A server that runs until it is dropped.
pub(crate) struct Host {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<ReceivedRequest>>>,
    connections: Arc<AtomicUsize>,
    answers: Arc<Mutex<Arc<Answers>>>,
    serving: JoinHandle<()>,
}

impl Host {
    pub(crate) async fn plain(
        answers: impl Fn(&ReceivedRequest) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::start(None, answers).await
    }

    pub(crate) async fn tls(
        acceptor: TlsAcceptor,
        answers: impl Fn(&ReceivedRequest) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::start(Some(acceptor), answers).await
    }

    async fn start(
        tls: Option<TlsAcceptor>,
        answers: impl Fn(&ReceivedRequest) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<ReceivedRequest>>> = Arc::default();
        let answers: Arc<Mutex<Arc<Answers>>> = Arc::new(Mutex::new(Arc::new(answers)));
        let connections: Arc<AtomicUsize> = Arc::default();
        let serving = tokio::spawn({
            let (seen, answers) = (Arc::clone(&seen), Arc::clone(&answers));
            let connections = Arc::clone(&connections);
            async move {
                loop {
                    let (socket, _) = listener.accept().await.unwrap();
                    connections.fetch_add(1, Ordering::Relaxed);
                    let (seen, answers, tls) =
                        (Arc::clone(&seen), Arc::clone(&answers), tls.clone());
                    tokio::spawn(async move {
                        match tls {
                            None => serve(socket, &seen, &answers).await,
                            Some(tls) => match tls.accept(socket).await {
                                Ok(socket) => serve(socket, &seen, &answers).await,
                                Err(_refused) => {}
                            },
                        }
                    });
                }
            }
        });
        Self { address, seen, connections, answers, serving }
    }

    /// Sets the responses from now on.
    pub(crate) fn answer(
        &self,
        answers: impl Fn(&ReceivedRequest) -> Reply + Send + Sync + 'static,
    ) {
        *self.answers.lock().unwrap() = Arc::new(answers);
    }

    /// Returns the number of accepted connections.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    pub(crate) fn seen(&self) -> Vec<ReceivedRequest> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(
    mut socket: impl AsyncRead + AsyncWrite + Unpin,
    seen: &Mutex<Vec<ReceivedRequest>>,
    answers: &Mutex<Arc<Answers>>,
) {
    let Some(request) = read(&mut socket).await else {
        return;
    };
    seen.lock().unwrap().push(request.clone());
    let answers = Arc::clone(&answers.lock().unwrap());
    let (status, head, body) = match answers(&request) {
        Reply::Answer(status, kind, body) => (status, format!("content-type: {kind}\r\n"), body),
        Reply::With(status, head, body) => (status, head.to_owned(), body),
        Reply::Silence => return std::future::pending().await,
        Reply::Trickle => {
            let head =
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n";
            if socket.write_all(head.as_bytes()).await.is_err() {
                return;
            }
            while socket.write_all(b" ").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            return;
        }
        Reply::Endless => {
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n";
            if socket.write_all(head.as_bytes()).await.is_err() {
                return;
            }
            while socket.write_all(&[b' '; 1024]).await.is_ok() {}
            return;
        }
    };
    let answer = format!(
        "HTTP/1.1 {status} Status\r\n{head}content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    // The client may have disconnected.
    drop(socket.write_all(answer.as_bytes()).await);
    drop(socket.shutdown().await);
}

async fn read(socket: &mut (impl AsyncRead + Unpin)) -> Option<ReceivedRequest> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut first = head.lines().next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
    let head = head.to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok())
        .unwrap_or(0);
    let mut body = bytes.split_off(end + 4);
    while body.len() < length {
        if socket.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    Some(ReceivedRequest {
        method,
        target,
        head,
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}
