//! Whether a worker is well, and how a platform asks.
//!
//! `/livez` says that the process runs. `/healthz` says that it has looked at the queue lately: a
//! worker that cannot is of no use, whatever the reason. `/metrics` shows what the process counts, and
//! what the database knows of jobs.
//! Plain HTTP on a port of its own, for the platform alone.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use service::{Service, metrics};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// How long a worker may not have looked at the queue. It does so every two seconds, and waits for a
/// connection for five; the rest is for a database that restarts.
const HEALTHY_SILENCE: Duration = Duration::from_secs(15);

/// Connections at once. Platforms and Prometheus open one or two.
const MAX_CONNECTIONS: usize = 32;

/// How long one request may take, from its first byte to the last of the answer.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);

/// Pause after a failed `accept`: usually file descriptors ran out, and some must close first.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// When a worker last looked at the queue. Clones share it.
#[derive(Clone, Debug)]
pub struct Pulse(Arc<Mutex<Instant>>);

impl Default for Pulse {
    /// Well, from now on for a while.
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }
}

impl Pulse {
    pub(crate) fn beat(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// How long ago the worker has looked at the queue.
    pub fn silence(&self) -> Duration {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    /// Whether that was lately.
    pub fn is_well(&self) -> bool {
        self.silence() < HEALTHY_SILENCE
    }
}

/// Answers for as long as it is polled, so that the end can be watched, too: from `shutdown` on the
/// worker is not well any more.
pub async fn serve_health(
    listener: TcpListener,
    pulse: Pulse,
    service: Service,
    shutdown: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let place = Arc::clone(&places).acquire_owned().await;
        match listener.accept().await {
            Ok((stream, _)) => {
                let answer = connection(stream, pulse.clone(), service.clone(), shutdown.clone());
                tokio::spawn(async move {
                    answer.await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(
                    dependency = "sockets", %error,
                    "Could not accept a connection, trying again"
                );
                sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

/// One request for each connection: probes come seldom.
async fn connection(
    stream: TcpStream,
    pulse: Pulse,
    service: Service,
    shutdown: CancellationToken,
) {
    let answering = service_fn(move |request: Request<Incoming>| {
        let question = question(&request);
        let (pulse, service, shutdown) = (pulse.clone(), service.clone(), shutdown.clone());
        async move {
            let answer = match question {
                Question::Metrics => (StatusCode::OK, PROMETHEUS, metrics::render(&service).await),
                other => probe(other, &pulse, &shutdown),
            };
            Ok::<_, Infallible>(response(answer))
        }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_LIMIT)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), answering);
    match timeout(REQUEST_LIMIT, serving).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "A probe ended early"),
        Err(_) => tracing::debug!("A probe took too long"),
    }
}

const JSON: &str = "application/json";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A status, the type of a body, and the body.
type Answer = (StatusCode, &'static str, String);

/// What somebody asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    Alive,
    Well,
    Metrics,
    Unknown,
    NotGet,
}

fn question<B>(request: &Request<B>) -> Question {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return Question::NotGet;
    }
    match request.uri().path() {
        "/livez" => Question::Alive,
        "/healthz" => Question::Well,
        "/metrics" => Question::Metrics,
        _ => Question::Unknown,
    }
}

/// The answer to what needs nobody to be asked.
fn probe(question: Question, pulse: &Pulse, shutdown: &CancellationToken) -> Answer {
    let ok = || (StatusCode::OK, JSON, r#"{"status":"ok"}"#.to_owned());
    let problem = |status, text: &str| {
        (status, JSON, serde_json::json!({ "status": "unwell", "problem": text }).to_string())
    };
    match question {
        Question::Alive => ok(),
        Question::Well if shutdown.is_cancelled() => {
            problem(StatusCode::SERVICE_UNAVAILABLE, "This worker is about to end.")
        }
        Question::Well if pulse.is_well() => ok(),
        Question::Well => problem(
            StatusCode::SERVICE_UNAVAILABLE,
            "This worker has not been able to look at the queue for a while. Check DATABASE_URL \
             and the database itself.",
        ),
        Question::NotGet => problem(StatusCode::METHOD_NOT_ALLOWED, "There is only GET here."),
        Question::Metrics | Question::Unknown => {
            problem(StatusCode::NOT_FOUND, "There is /livez, /healthz and /metrics.")
        }
    }
}

fn response((status, kind, body): Answer) -> Response<Full<Bytes>> {
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
        probe(question(&request), pulse, shutdown).0
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_has_not_looked_at_the_queue_is_unwell() {
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
