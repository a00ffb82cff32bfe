//! Accepts connections and gives their requests to a poem endpoint.
//!
//! Poem's own `Server` is not used, for what it leaves out: it sets no timer, so hyper's limit on
//! reading a request head is off; it bounds neither connections nor writes that do not move; it
//! turns in circles when `accept` fails, as it does when file descriptors run out; and it leaves
//! Nagle's algorithm on, which costs a streamed answer about 45 ms. Everything above the
//! connection is poem's. HTTP/1.1 only: clients use it on loopback, and so do the proxies in front
//! of a deployment, and hyper's limit on the head does not hold while it guesses the version.

use std::{
    convert::Infallible,
    future::Future,
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use http::uri::Scheme;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use poem::{
    Endpoint, Response,
    web::{LocalAddr, RemoteAddr},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, Sleep, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// Open connections of one instance. An open event stream costs about 20 KiB, so this many fit the
/// smallest machine we run on; further clients wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 8_192;

/// From the moment a connection is ready for a request until the whole head has arrived. It is
/// also how long an unused connection is kept open.
pub(crate) const HEAD_READ_LIMIT: Duration = Duration::from_mins(1);

/// Bytes of a request line and its headers. Access tokens are the largest part, at about 1 KiB.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// How long the other side may refuse to take any byte of our answer. Event streams write at least
/// every 15 s, so a reader that vanished without a word is noticed this way.
const WRITE_STALL_LIMIT: Duration = Duration::from_mins(1);

/// Pause after a failed `accept`: usually file descriptors ran out, and some must close first.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Serves until `stop`; then lets the open requests end for at most `grace` and drops the rest.
pub(crate) async fn serve<E>(
    listener: TcpListener,
    app: E,
    stop: CancellationToken,
    grace: Duration,
) where
    E: Endpoint<Output = Response> + 'static,
{
    let app = Arc::new(app);
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let accepted = async {
            let slot = slots.clone().acquire_owned().await;
            (slot, listener.accept().await)
        };
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_ended) = connections.join_next() => {}
            (slot, accepted) = accepted => match accepted {
                Ok((stream, remote)) => {
                    let connection = connection(stream, remote, app.clone(), stop.clone());
                    connections.spawn(async move {
                        connection.await;
                        drop(slot);
                    });
                }
                Err(error) => {
                    tracing::warn!(
                        dependency = "sockets", %error,
                        "Could not accept a connection, trying again"
                    );
                    sleep(ACCEPT_RETRY).await;
                }
            },
        }
    }
    drop(listener);
    let all_ended = async { while connections.join_next().await.is_some() {} };
    if timeout(grace, all_ended).await.is_err() {
        let left = connections.len();
        tracing::warn!(left, "Cut connections that were still busy: {left}");
    }
}

async fn connection<E>(stream: TcpStream, remote: SocketAddr, app: Arc<E>, stop: CancellationToken)
where
    E: Endpoint<Output = Response> + 'static,
{
    let Ok(local) = stream.local_addr() else {
        return; // the client is gone already
    };
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "Could not set TCP_NODELAY");
    }
    let service = service_fn(move |request: http::Request<Incoming>| {
        let app = app.clone();
        async move {
            let local = LocalAddr(local.into());
            let request = (request, local, RemoteAddr(remote.into()), Scheme::HTTP).into();
            // In a box that ends with the request: hyper keeps room for the future of a request as
            // long as the connection, and an event stream may be open for an hour.
            let answer: http::Response<_> = Box::pin(app.get_response(request)).await.into();
            Ok::<_, Infallible>(answer)
        }
    });
    let mut serving = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_READ_LIMIT)
            .max_header_size(MAX_HEAD_BYTES)
            .serve_connection(TokioIo::new(StallGuard::new(stream)), service)
    );
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, %remote, "A connection ended early");
    }
}

/// A socket whose writes fail when none of them made progress for [`WRITE_STALL_LIMIT`].
struct StallGuard {
    stream: TcpStream,
    /// Runs from the first write that had to wait to the next one that did not.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl StallGuard {
    fn new(stream: TcpStream) -> Self {
        Self { stream, stalled: None }
    }

    fn guard<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let deadline = self.stalled.get_or_insert_with(|| {
            Box::pin(tokio::time::sleep_until(Instant::now() + WRITE_STALL_LIMIT))
        });
        ready!(deadline.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for StallGuard {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for StallGuard {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.guard(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.guard(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
