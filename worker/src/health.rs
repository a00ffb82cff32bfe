//! Health probes of a worker process.
//!
//! `/livez` reports that the process is running. `/healthz` reports that it has recently queried
//! the queue: a worker that cannot do this is useless, whatever the reason. `/metrics` has the metrics
//! of the process and the job statistics of the database. Plain HTTP on a separate port, for the
//! platform only.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use app::{App, metrics};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use platform::http_listener::{self, ConnectionLimits, Limits, LingerLimits, RequestBody};
use tokio::{net::TcpListener, time::Instant};
use tokio_util::sync::CancellationToken;

/// The time since the last query of the queue up to which a worker is healthy. A worker queries it
/// every two seconds, and waits up to five for a connection; the rest is for a restart of the
/// database.
const HEALTHY_SILENCE: Duration = Duration::from_secs(15);

/// Timeout of a connection, from its beginning to the last byte of the response. A connection has
/// one request: probes are rare.
const CONNECTION_TIME: Duration = Duration::from_secs(10);

/// Platforms and Prometheus open one or two connections, with small requests.
const LIMITS: Limits = Limits {
    connections: ConnectionLimits { open: 32, lingering: 8, for_probes: 0 },
    head_time: CONNECTION_TIME,
    head_bytes: 64 * 1024,
    write_stall: CONNECTION_TIME,
    connection_time: Some(CONNECTION_TIME),
    keep_alive: false,
    linger: LingerLimits { time: CONNECTION_TIME, pause: Duration::from_secs(1), bytes: 1 << 20 },
};

/// When a worker last queried the queue. Clones share it.
#[derive(Clone, Debug)]
pub struct Pulse(Arc<Mutex<Instant>>);

impl Default for Pulse {
    /// Healthy, as if the queue had just been queried.
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }
}

impl Pulse {
    pub(crate) fn beat(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// The time since the worker last queried the queue.
    pub fn silence(&self) -> Duration {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    /// Whether the worker has queried the queue recently enough.
    pub fn is_healthy(&self) -> bool {
        self.silence() < HEALTHY_SILENCE
    }
}

/// Serves probes for as long as it is polled, so that the shutdown can be observed, too: from
/// `shutdown` on the worker is unhealthy.
pub async fn serve_health(
    listener: TcpListener,
    pulse: Pulse,
    app: App,
    shutdown: CancellationToken,
) {
    let handler = move |request: Request<RequestBody>, _connection| {
        let probe = requested(&request);
        let (pulse, app, shutdown) = (pulse.clone(), app.clone(), shutdown.clone());
        async move {
            let probe_response = match probe {
                Probe::Metrics => (StatusCode::OK, PROMETHEUS, metrics::render(&app).await),
                other => respond(other, &pulse, &shutdown),
            };
            response(probe_response)
        }
    };
    let never = CancellationToken::new();
    http_listener::serve(listener, handler, LIMITS, never, Duration::ZERO).await;
}

const JSON: &str = "application/json";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A status, a content type and a body.
type ProbeResponse = (StatusCode, &'static str, String);

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Probe {
    Live,
    Ready,
    Metrics,
    Unknown,
    NotGet,
}

fn requested<B>(request: &Request<B>) -> Probe {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return Probe::NotGet;
    }
    match request.uri().path() {
        "/livez" => Probe::Live,
        "/healthz" => Probe::Ready,
        "/metrics" => Probe::Metrics,
        _ => Probe::Unknown,
    }
}

/// The response to a probe that needs no I/O.
fn respond(probe: Probe, pulse: &Pulse, shutdown: &CancellationToken) -> ProbeResponse {
    let ok = || (StatusCode::OK, JSON, r#"{"status":"ok"}"#.to_owned());
    let problem = |status, text: &str| {
        (status, JSON, serde_json::json!({ "status": "unwell", "problem": text }).to_string())
    };
    match probe {
        Probe::Live => ok(),
        Probe::Ready if shutdown.is_cancelled() => {
            problem(StatusCode::SERVICE_UNAVAILABLE, "This worker is shutting down.")
        }
        Probe::Ready if pulse.is_healthy() => ok(),
        Probe::Ready => problem(
            StatusCode::SERVICE_UNAVAILABLE,
            "This worker could not query the job queue recently. Check DATABASE_URL and the \
             database itself.",
        ),
        Probe::NotGet => problem(StatusCode::METHOD_NOT_ALLOWED, "Only GET is supported."),
        Probe::Metrics | Probe::Unknown => {
            problem(StatusCode::NOT_FOUND, "The paths are /livez, /healthz and /metrics.")
        }
    }
}

fn response((status, kind, body): ProbeResponse) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(path: &str, pulse: &Pulse, shutdown: &CancellationToken) -> StatusCode {
        let request = Request::get(path).body(()).unwrap();
        respond(requested(&request), pulse, shutdown).0
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_has_not_queried_the_queue_is_unhealthy() {
        let (pulse, shutdown) = (Pulse::default(), CancellationToken::new());
        assert_eq!(status("/healthz", &pulse, &shutdown), StatusCode::OK);
        tokio::time::advance(HEALTHY_SILENCE).await;
        assert_eq!(status("/healthz", &pulse, &shutdown), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(status("/livez", &pulse, &shutdown), StatusCode::OK);
        pulse.beat();
        assert_eq!(status("/healthz", &pulse, &shutdown), StatusCode::OK);
        shutdown.cancel();
        assert_eq!(status("/healthz", &pulse, &shutdown), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(status("/livez", &pulse, &shutdown), StatusCode::OK);
        assert_eq!(status("/", &pulse, &shutdown), StatusCode::NOT_FOUND);
    }
}
