//! Serves a poem endpoint on a listener of [`platform::http_listener`].
//!
//! Poem's own `Server` is not used because it lacks several limits: it sets no timer, so hyper's
//! timeout for the request head does not work; it limits neither connections nor stalled writes; it
//! busy-loops when `accept` fails, as it does when file descriptors run out; and it leaves Nagle's
//! algorithm enabled. Everything above the connection is poem's.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{StatusCode, header, uri::Scheme};
use http_body_util::{BodyExt as _, combinators::BoxBody};
use platform::{
    descriptors,
    http_listener::{self, Connection, ConnectionLimits, Limits, LingerLimits, RequestBody},
};
use poem::{
    Body, Endpoint, Request, RequestParts, Response,
    web::{LocalAddr, RemoteAddr},
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{error::RETRY_AFTER_SECONDS, probes::PROBES};

/// The maximum number of connections. An open event stream costs about 12 kB, so this many fit
/// into the memory of the smallest machine that is deployed to.
const MAX_CONNECTIONS: usize = 16_384;

/// The number of connections beyond the maximum that are reserved for probes.
const PROBE_CONNECTIONS: usize = 32;

/// The number of file descriptors reserved for everything else: the database, Redis, files, other
/// servers, and the other listeners.
const OTHER_DESCRIPTORS: usize = 128;

/// The limits of a listener of a web instance.
fn limits() -> Limits {
    // The limit on open files of this process may allow fewer connections.
    let free = descriptors::limit().saturating_sub(OTHER_DESCRIPTORS + PROBE_CONNECTIONS);
    Limits {
        connections: ConnectionLimits {
            open: free.clamp(1, MAX_CONNECTIONS),
            lingering: 256, // each has a buffer of 16 KiB
            for_probes: PROBE_CONNECTIONS,
        },
        head_time: Duration::from_mins(1),
        // Access tokens are the largest part, at about 1 KiB.
        head_bytes: 64 * 1024,
        // Event streams write at least every 15 s, so a reader that vanished silently is detected
        // within this time.
        write_stall: Duration::from_mins(1),
        connection_time: None,
        keep_alive: true,
        // The times are the defaults of nginx. The bytes are 16 times the largest body that an
        // endpoint accepts.
        linger: LingerLimits {
            time: Duration::from_secs(30),
            pause: Duration::from_secs(5),
            bytes: 64 << 20,
        },
    }
}

/// Serves until `stop` is cancelled, then waits up to `grace` for open requests and drops the rest.
pub(crate) async fn serve<E>(
    listener: TcpListener,
    app: E,
    stop: CancellationToken,
    grace: Duration,
) where
    E: Endpoint<Output = Response> + 'static,
{
    let app = Arc::new(app);
    let handler = move |request, connection| {
        let app = app.clone();
        async move { respond(&*app, request, connection).await.into() }
    };
    http_listener::serve::<_, _, BoxBody<Bytes, std::io::Error>>(
        listener,
        handler,
        limits(),
        stop,
        grace,
    )
    .await;
}

async fn respond<E>(
    app: &E,
    request: http::Request<RequestBody>,
    connection: Connection,
) -> Response
where
    E: Endpoint<Output = Response>,
{
    let (head, body) = request.into_parts();
    if connection.is_for_probes && !PROBES.contains(&head.uri.path()) {
        return too_many_connections();
    }
    let (local, remote) = (connection.local.into(), connection.remote.into());
    let head = RequestParts::from((head, LocalAddr(local), RemoteAddr(remote), Scheme::HTTP));
    app.get_response(Request::from_parts(head, Body::from(body.boxed()))).await
}

/// The response to other requests on a connection that is reserved for probes.
fn too_many_connections() -> Response {
    Response::builder()
        .status(StatusCode::SERVICE_UNAVAILABLE)
        .header(header::RETRY_AFTER, RETRY_AFTER_SECONDS)
        .header(header::CONNECTION, "close")
        .body(format!(
            "This instance has reached its maximum number of connections. Try again in \
             {RETRY_AFTER_SECONDS} seconds.\n"
        ))
}
