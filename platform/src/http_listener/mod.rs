//! Accepts HTTP/1.1 connections within limits, and passes their requests to a handler.
//!
//! Hyper alone limits neither the number of connections nor stalled writes, and a loop around
//! `accept` spins when file descriptors run out. HTTP/1.1 only: clients use it on loopback, and
//! so do the proxies in front of a deployment, and hyper does not enforce the limit on the head
//! while it detects the version.
//!
//! A response that is sent before the whole request was read closes its connection in stages
//! (`linger.rs`). Idle connections are closed to make room for new ones (`connections.rs`). Event
//! streams are sent without hyper, whose buffers are large (`long_response.rs`).

mod body;
mod connections;
mod linger;
mod long_response;
#[cfg(test)]
mod tests;

use std::{
    convert::Infallible,
    error::Error,
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{HeaderValue, Request, Response, header};
use hyper::{
    body::{Body, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{Sleep, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use self::{
    body::GuardedBody,
    connections::{Activity, Connections, Slot},
    long_response::{Handover, Sent},
};
pub use self::{
    body::RequestBody, connections::ConnectionLimits, linger::LingerLimits,
    long_response::LongResponse,
};

/// Pause after a failed `accept`: usually file descriptors ran out, and some must be closed first.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Limits of one listener.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The number of connections.
    pub connections: ConnectionLimits,
    /// The time from the moment a connection is ready for a request until the whole head has
    /// arrived. It is also the keep-alive timeout.
    pub head_time: Duration,
    /// The size of the request line and the headers.
    pub head_bytes: usize,
    /// How long a client may accept no bytes of a response.
    pub write_stall: Duration,
    /// How long a connection may be open. `None`: unlimited.
    pub connection_time: Option<Duration>,
    /// Whether a connection may have more than one request.
    pub keep_alive: bool,
    /// Lingering closes.
    pub linger: LingerLimits,
}

/// The connection of a request.
#[derive(Clone, Copy, Debug)]
pub struct Connection {
    /// The address on which it arrived.
    pub local: SocketAddr,
    /// The address of the peer.
    pub remote: SocketAddr,
    /// Whether it was accepted beyond [`ConnectionLimits::open`], for probes only. The handler must
    /// refuse every other request.
    pub is_for_probes: bool,
}

/// Serves until `stop` is cancelled, then waits up to `grace` for open requests and drops the rest.
/// Connections are also dropped if the future is.
pub async fn serve<H, F, B>(
    listener: TcpListener,
    handler: H,
    limits: Limits,
    stop: CancellationToken,
    grace: Duration,
) where
    H: Fn(Request<RequestBody>, Connection) -> F + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + Unpin + 'static,
{
    let handler = Arc::new(handler);
    let open = Connections::new(limits.connections);
    let mut connections = JoinSet::new();
    loop {
        let accepted = async {
            let (stream, remote) = listener.accept().await?;
            let slot = open.admit(remote.ip()).await;
            io::Result::Ok((stream, remote, slot))
        };
        tokio::select! {
            () = stop.cancelled() => break,
            accepted = accepted => match accepted {
                Ok((stream, remote, slot)) => {
                    let (handler, stop) = (handler.clone(), stop.clone());
                    connections.spawn(connection(stream, remote, slot, handler, limits, stop));
                }
                Err(error) => {
                    tracing::warn!(
                        dependency = "sockets", %error,
                        "Could not accept a connection; retrying"
                    );
                    open.evict_idlest();
                    sleep(ACCEPT_RETRY).await;
                }
            },
        }
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    let all_ended = async { while connections.join_next().await.is_some() {} };
    if timeout(grace, all_ended).await.is_err() {
        let left = connections.len();
        tracing::warn!(left, "Closed connections with unfinished requests at shutdown: {left}");
    }
}

/// Serves one connection until it ends, is evicted, or reaches its time limit.
async fn connection<H, F, B>(
    stream: TcpStream,
    remote: SocketAddr,
    slot: Slot,
    handler: Arc<H>,
    limits: Limits,
    stop: CancellationToken,
) where
    H: Fn(Request<RequestBody>, Connection) -> F + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + Unpin + 'static,
{
    let time_limit = async {
        match limits.connection_time {
            Some(time) => sleep(time).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        () = slot.evicted() => tracing::debug!(%remote, "Closed an idle connection to make room"),
        () = requests(stream, remote, &slot, handler, limits, stop) => {}
        () = time_limit => tracing::debug!(%remote, "Closed a connection at its time limit"),
    }
}

async fn requests<H, F, B>(
    stream: TcpStream,
    remote: SocketAddr,
    slot: &Slot,
    handler: Arc<H>,
    limits: Limits,
    stop: CancellationToken,
) where
    H: Fn(Request<RequestBody>, Connection) -> F + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + Unpin + 'static,
{
    let Ok(local) = stream.local_addr() else {
        return; // the client is gone already
    };
    // Nagle's algorithm delays a streamed response by about 45 ms.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "Could not set TCP_NODELAY");
    }
    let activity = slot.activity();
    let connection = Connection { local, remote, is_for_probes: slot.is_for_probes() };
    let unread = Arc::new(AtomicBool::new(false));
    let long_response = Handover::new();
    let service = service_fn({
        let (activity, unread) = (activity.clone(), unread.clone());
        let long_response = long_response.clone();
        move |request: Request<Incoming>| {
            let (handler, unread, in_flight) = (handler.clone(), unread.clone(), activity.begin());
            let long_response = long_response.clone();
            // Boxed, so that it is freed with the request: hyper reserves space for the future of a
            // request for as long as the connection, and an event stream may be open for an hour.
            Box::pin(async move {
                let may_be_long = long_response::is_possible(request.version());
                let (request, remainder) = body::observe(request);
                let mut response = handler(request, connection).await;
                let was_read = remainder.finish().await;
                // Rather than read the rest of the body, close the connection after the response.
                if !was_read {
                    unread.store(true, Ordering::Relaxed);
                    let close = HeaderValue::from_static("close");
                    response.headers_mut().insert(header::CONNECTION, close);
                }
                let is_long = response.extensions().get::<LongResponse>().is_some();
                let response = response.map(|body| GuardedBody { body, _in_flight: in_flight });
                if is_long && may_be_long && was_read {
                    long_response.put(response);
                    // Dropped when the connection is taken from hyper.
                    return std::future::pending().await;
                }
                Ok::<_, Infallible>(response)
            })
        }
    });
    let flushed = Arc::new(AtomicBool::new(false));
    let stream = StallGuard::new(stream, limits.write_stall, activity.clone(), flushed.clone());
    // Boxed, so that it is freed when a long response begins.
    let mut serving = Box::new(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .keep_alive(limits.keep_alive)
            .header_read_timeout(limits.head_time)
            .max_header_size(limits.head_bytes)
            .serve_connection(TokioIo::new(stream), service),
    );
    let mut serve = async |stopping: bool| {
        if stopping {
            Pin::new(&mut *serving).graceful_shutdown();
        }
        poll_fn(|cx| {
            flushed.store(false, Ordering::Relaxed);
            if let Poll::Ready(ended) = serving.poll_without_shutdown(cx) {
                return Poll::Ready(Served::Ended(ended));
            }
            // Hyper flushes the socket when its own write buffer is empty: then the responses to
            // earlier requests have been sent.
            match flushed.load(Ordering::Relaxed).then(|| long_response.take()).flatten() {
                Some(response) => Poll::Ready(Served::Long(response)),
                None => Poll::Pending,
            }
        })
        .await
    };
    let served = tokio::select! {
        served = serve(false) => Some(served),
        () = stop.cancelled() => None,
    };
    let served = match served {
        Some(served) => served,
        None => serve(true).await,
    };
    let parts = serving.into_parts();
    let mut stream = parts.io.into_inner();
    let has_early_input = !parts.read_buf.is_empty();
    drop((parts.read_buf, parts.service));
    // Whether the client may still be sending.
    let has_unread_input = match served {
        Served::Ended(ended) => {
            // Hyper has responded to invalid HTTP without reading the rest.
            let refused = ended.as_ref().is_err_and(hyper::Error::is_parse);
            if let Err(error) = ended {
                tracing::debug!(%error, %remote, "Connection ended with an error");
            }
            refused || unread.load(Ordering::Relaxed)
        }
        Served::Long(response) => {
            let sent = Box::pin(long_response::send(&mut stream, response)).await;
            if let Err(error) = &sent {
                tracing::debug!(%error, %remote, "Connection ended with an error");
            }
            sent.is_ok_and(|sent| sent == Sent::WithUnreadInput)
        }
    };
    if has_unread_input || has_early_input {
        activity.linger();
        linger::linger(&mut stream, limits.linger).await;
    }
}

/// How hyper's part of a connection ended.
enum Served<B> {
    /// The connection has ended.
    Ended(hyper::Result<()>),
    /// This response is to be sent without hyper.
    Long(Response<B>),
}

/// A socket whose writes fail if none of them made progress for `limit`.
struct StallGuard {
    stream: TcpStream,
    limit: Duration,
    /// Runs while writes are pending.
    stalled: Option<Pin<Box<Sleep>>>,
    activity: Activity,
    /// Set when it has been flushed.
    flushed: Arc<AtomicBool>,
}

impl StallGuard {
    fn new(
        stream: TcpStream,
        limit: Duration,
        activity: Activity,
        flushed: Arc<AtomicBool>,
    ) -> Self {
        Self { stream, limit, stalled: None, activity, flushed }
    }

    fn guard<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            if self.stalled.take().is_some() {
                self.activity.touch();
            }
            return written;
        }
        let deadline = self.stalled.get_or_insert_with(|| Box::pin(sleep(self.limit)));
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
        let flushing = Pin::new(&mut self.stream).poll_flush(cx);
        self.flushed.fetch_or(matches!(flushing, Poll::Ready(Ok(()))), Ordering::Relaxed);
        flushing
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
