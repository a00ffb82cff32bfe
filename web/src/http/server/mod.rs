//! Accepts connections and passes their requests to a poem endpoint.
//!
//! Poem's own `Server` is not used because it lacks several limits: it sets no timer, so hyper's
//! timeout for the request head does not work; it limits neither connections nor stalled writes; it
//! busy-loops when `accept` fails, as it does when file descriptors run out; and it leaves Nagle's
//! algorithm enabled, which delays a streamed response by about 45 ms. Everything above the
//! connection is poem's. HTTP/1.1 only: clients use it on loopback, and so do the proxies in front
//! of a deployment, and hyper does not enforce the limit on the head while it detects the version.
//!
//! A response that is sent before the whole request was read closes its connection in stages
//! ([`linger`]). Idle connections are closed to make room for new ones ([`connections`]).

mod connections;
mod linger;
mod message;
#[cfg(test)]
mod tests;

use std::{
    convert::Infallible,
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

use connections::{Activity, ConnectionLimits, Connections, Slot};
use http::{HeaderValue, StatusCode, header, uri::Scheme};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use linger::LingerLimits;
use message::{GuardedBody, Remainder};
use poem::{
    Endpoint, Request, Response,
    web::{LocalAddr, RemoteAddr},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{Instant, Sleep, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::http::{error::RETRY_AFTER_SECONDS, probes::PROBES};

/// Timeout from the moment a connection is ready for a request until the whole head has arrived. It
/// is also the keep-alive timeout.
pub(crate) const HEAD_READ_LIMIT: Duration = Duration::from_mins(1);

/// Maximum size of the request line and headers. Access tokens are the largest part, at about 1
/// KiB.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// How long a client may accept no bytes of a response. Event streams write at least every 15 s, so
/// a reader that vanished silently is detected within this time.
const WRITE_STALL_LIMIT: Duration = Duration::from_mins(1);

/// Pause after a failed `accept`: usually file descriptors ran out, and some must be closed first.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Limits on the connections of one listener.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Limits {
    connections: ConnectionLimits,
    linger: LingerLimits,
}

/// Serves until `stop` is cancelled, then waits up to `grace` for open requests and drops the rest.
pub(crate) async fn serve<E>(
    listener: TcpListener,
    app: E,
    limits: Limits,
    stop: CancellationToken,
    grace: Duration,
) where
    E: Endpoint<Output = Response> + 'static,
{
    let app = Arc::new(app);
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
                    let (app, stop, limits) = (app.clone(), stop.clone(), limits.linger);
                    connections.spawn(connection(stream, remote, slot, app, limits, stop));
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

/// Serves one connection until it ends or is evicted.
async fn connection<E>(
    stream: TcpStream,
    remote: SocketAddr,
    slot: Slot,
    app: Arc<E>,
    limits: LingerLimits,
    stop: CancellationToken,
) where
    E: Endpoint<Output = Response> + 'static,
{
    tokio::select! {
        biased;
        () = slot.evicted() => tracing::debug!(%remote, "Closed an idle connection to make room"),
        () = requests(stream, remote, &slot, app, limits, stop) => {}
    }
}

async fn requests<E>(
    stream: TcpStream,
    remote: SocketAddr,
    slot: &Slot,
    app: Arc<E>,
    limits: LingerLimits,
    stop: CancellationToken,
) where
    E: Endpoint<Output = Response> + 'static,
{
    let Ok(local) = stream.local_addr() else {
        return; // the client is gone already
    };
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "Could not set TCP_NODELAY");
    }
    let (activity, for_probes) = (slot.activity(), slot.is_for_probes());
    let unread = Arc::new(AtomicBool::new(false));
    let app = service_fn({
        let (activity, unread) = (activity.clone(), unread.clone());
        move |request: http::Request<Incoming>| {
            let (app, unread, in_flight) = (app.clone(), unread.clone(), activity.begin());
            let request =
                (request, LocalAddr(local.into()), RemoteAddr(remote.into()), Scheme::HTTP);
            // Boxed, so that it is freed with the request: hyper reserves space for the future of a
            // request for as long as the connection, and an event stream may be open for an hour.
            Box::pin(async move {
                let request: Request = request.into();
                let response = if for_probes && !PROBES.contains(&request.uri().path()) {
                    no_room()
                } else {
                    respond(&*app, request, &unread).await
                };
                let response: http::Response<_> = response.into();
                Ok::<_, Infallible>(
                    response.map(|body| GuardedBody { body, _in_flight: in_flight }),
                )
            })
        }
    });
    let mut serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_READ_LIMIT)
        .max_header_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(StallGuard::new(stream, activity.clone())), app);
    let ended = tokio::select! {
        ended = poll_fn(|cx| serving.poll_without_shutdown(cx)) => ended,
        () = stop.cancelled() => {
            Pin::new(&mut serving).graceful_shutdown();
            poll_fn(|cx| serving.poll_without_shutdown(cx)).await
        }
    };
    // Hyper has responded to invalid HTTP without reading the rest.
    let refused = ended.as_ref().is_err_and(hyper::Error::is_parse);
    if let Err(error) = ended {
        tracing::debug!(%error, %remote, "Connection ended with an error");
    }
    let parts = serving.into_parts();
    let mut stream = parts.io.into_inner();
    if refused || unread.load(Ordering::Relaxed) || !parts.read_buf.is_empty() {
        activity.linger();
        linger::linger(&mut stream, limits).await;
    }
}

/// The response on a connection that is reserved for probes.
fn no_room() -> Response {
    Response::builder()
        .status(StatusCode::SERVICE_UNAVAILABLE)
        .header(header::RETRY_AFTER, RETRY_AFTER_SECONDS)
        .header(header::CONNECTION, "close")
        .body(format!(
            "This instance has as many open connections as it can have. Try again in \
             {RETRY_AFTER_SECONDS} seconds.\n"
        ))
}

/// Responds to one request. If the endpoint did not read the whole body, the response closes the
/// connection and `unread` is set.
async fn respond<E>(app: &E, mut request: Request, unread: &AtomicBool) -> Response
where
    E: Endpoint<Output = Response>,
{
    let remainder = Remainder::of(&mut request);
    let mut response = app.get_response(request).await;
    if let Some(remainder) = remainder
        && !remainder.finish().await
    {
        unread.store(true, Ordering::Relaxed);
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// A socket whose writes fail if none of them made progress for [`WRITE_STALL_LIMIT`].
struct StallGuard {
    stream: TcpStream,
    /// Runs while writes are pending.
    stalled: Option<Pin<Box<Sleep>>>,
    activity: Activity,
}

impl StallGuard {
    fn new(stream: TcpStream, activity: Activity) -> Self {
        Self { stream, stalled: None, activity }
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
