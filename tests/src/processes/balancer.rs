//! A round-robin load balancer without sticky sessions.
//!
//! It probes the readiness of every instance and prefers the ready ones. A request whose connection
//! cannot be established was not sent, so it goes to the next instance; a request that was sent is never
//! repeated. Requests that get no complete response are counted.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::StreamExt as _;
use http::{StatusCode, header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use poem::{Body, Request, Response};
use tokio::{
    net::TcpListener,
    task::{JoinHandle, JoinSet},
    time::interval,
};

/// Interval of the readiness probes.
const PROBE: Duration = Duration::from_millis(100);

/// Timeout of a readiness probe.
const PROBE_LIMIT: Duration = Duration::from_secs(1);

/// The largest request body that is forwarded.
const MAX_BODY: usize = 8 * 1024 * 1024;

/// A running load balancer. It stops when it is dropped.
#[derive(Debug)]
pub struct Balancer {
    origin: String,
    shared: Arc<Shared>,
    running: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    client: reqwest::Client,
    instances: Vec<Instance>,
    next: AtomicUsize,
    /// The token of requests that have none.
    bearer: Option<String>,
    lost: AtomicUsize,
}

#[derive(Debug)]
struct Instance {
    origin: String,
    ready: AtomicBool,
}

impl Balancer {
    /// Serves on `listener`, in front of the instances at these ports. Requests without a token get
    /// `bearer`.
    pub fn start(listener: TcpListener, ports: &[u16], bearer: Option<String>) -> Self {
        let address = listener.local_addr().expect("it is bound");
        let instances = ports.iter().map(|port| Instance {
            origin: format!("http://127.0.0.1:{port}"),
            ready: AtomicBool::new(true),
        });
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            // A reused connection may turn out to be closed only after the request was sent.
            .pool_max_idle_per_host(0)
            .build()
            .expect("a plain client can be built");
        let shared = Arc::new(Shared {
            client,
            instances: instances.collect(),
            next: AtomicUsize::new(0),
            bearer,
            lost: AtomicUsize::new(0),
        });
        let running = tokio::spawn(run(listener, Arc::clone(&shared)));
        Self { origin: format!("http://{address}"), shared, running }
    }

    /// `http://127.0.0.1:port`.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Number of requests that were sent to an instance and got no response, or an incomplete one.
    pub fn lost(&self) -> usize {
        self.shared.lost.load(Ordering::Relaxed)
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.running.abort();
    }
}

async fn run(listener: TcpListener, shared: Arc<Shared>) {
    let mut tasks = JoinSet::new();
    for index in 0..shared.instances.len() {
        tasks.spawn(probe(Arc::clone(&shared), index));
    }
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, remote)) = accepted else { continue };
                drop(stream.set_nodelay(true));
                tasks.spawn(serve(stream, remote, Arc::clone(&shared)));
            }
            Some(_ended) = tasks.join_next() => {}
        }
    }
}

async fn probe(shared: Arc<Shared>, index: usize) {
    let instance = &shared.instances[index];
    let mut turn = interval(PROBE);
    loop {
        turn.tick().await;
        let asked = shared.client.get(format!("{}/healthz", instance.origin));
        let answer = asked.timeout(PROBE_LIMIT).send().await;
        let ready = answer.is_ok_and(|it| it.status().is_success());
        instance.ready.store(ready, Ordering::Relaxed);
    }
}

async fn serve(stream: tokio::net::TcpStream, remote: SocketAddr, shared: Arc<Shared>) {
    let Ok(local) = stream.local_addr() else { return };
    let app = service_fn(move |request: http::Request<Incoming>| {
        let shared = Arc::clone(&shared);
        async move {
            let local = poem::web::LocalAddr(local.into());
            let remote = poem::web::RemoteAddr(remote.into());
            let request = (request, local, remote, http::uri::Scheme::HTTP).into();
            let answer: http::Response<_> = shared.pass_on(request).await.into();
            Ok::<_, Infallible>(answer)
        }
    });
    let serving = http1::Builder::new().serve_connection(TokioIo::new(stream), app);
    if let Err(error) = serving.await {
        tracing::debug!(%error, "A connection to the load balancer ended early");
    }
}

impl Shared {
    /// The instances in the order in which the next request tries them: ready ones first.
    fn turn(&self) -> Vec<&Instance> {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let count = self.instances.len();
        let mut order: Vec<_> =
            (0..count).map(|it| &self.instances[(first + it) % count]).collect();
        order.sort_by_key(|it| !it.ready.load(Ordering::Relaxed));
        order
    }

    async fn pass_on(&self, request: Request) -> Response {
        let (mut parts, body) = request.into_parts();
        let Ok(body) = body.into_bytes_limit(MAX_BODY).await else {
            return refuse(StatusCode::BAD_REQUEST, "the body did not arrive");
        };
        if let Some(bearer) = &self.bearer
            && !parts.headers.contains_key(header::AUTHORIZATION)
        {
            let value = format!("Bearer {bearer}").parse().expect("a token is visible ASCII");
            parts.headers.insert(header::AUTHORIZATION, value);
        }
        parts.headers.remove(header::CONNECTION);
        parts.headers.remove(header::TRANSFER_ENCODING);
        let path = parts.uri.path_and_query().map_or("/", |it| it.as_str());
        for instance in self.turn() {
            let sent = self
                .client
                .request(parts.method.clone(), format!("{}{path}", instance.origin))
                .headers(parts.headers.clone())
                .body(body.clone())
                .send()
                .await;
            match sent {
                Ok(answer) => return passed_back(answer),
                Err(error) if error.is_connect() => instance.ready.store(false, Ordering::Relaxed),
                Err(error) => {
                    self.lost.fetch_add(1, Ordering::Relaxed);
                    tracing::debug!(%error, "A request got no answer");
                    return refuse(StatusCode::BAD_GATEWAY, "the instance gave no answer");
                }
            }
        }
        refuse(StatusCode::SERVICE_UNAVAILABLE, "no instance can be reached")
    }
}

fn passed_back(answer: reqwest::Response) -> Response {
    let mut builder = Response::builder().status(answer.status());
    for (name, value) in answer.headers() {
        if ![header::CONNECTION, header::TRANSFER_ENCODING].contains(name) {
            builder = builder.header(name, value);
        }
    }
    let bytes = answer.bytes_stream().map(|it| it.map_err(std::io::Error::other));
    builder.body(Body::from_bytes_stream(bytes))
}

fn refuse(status: StatusCode, why: &'static str) -> Response {
    Response::builder().status(status).header(header::RETRY_AFTER, 1).body(why)
}
