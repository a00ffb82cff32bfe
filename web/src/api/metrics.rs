//! `/metrics`: what this process counts, for Prometheus. On the public port only with a token.

use http::{HeaderValue, StatusCode, header};
use poem::{Endpoint, IntoResponse, Request, Response, Route, get};
use service::{Service, metrics, secret::Secret};
use subtle::ConstantTimeEq as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    http::{
        bearer::bearer,
        error::ApiError,
        observe::{Named, Observed},
        probes::METRICS,
        server::{self, Limits},
    },
    instance::Instance,
};

/// The value of `Allow`.
pub(crate) const METHODS: &str = "GET, HEAD";

/// The text format of Prometheus.
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// The endpoint.
pub(crate) struct Metrics {
    service: Service,
    door: Door,
}

/// Who may ask.
enum Door {
    /// Whoever reaches the port.
    Open,
    /// Whoever has the token, if there is one.
    Public(Option<Secret>),
}

impl Metrics {
    /// On the public port.
    pub(crate) fn new(instance: &Instance) -> Self {
        let token = instance.service.config().metrics.token.clone();
        Self { service: instance.service.clone(), door: Door::Public(token) }
    }

    fn admit(&self, request: &Request) -> Result<(), ApiError> {
        match &self.door {
            Door::Open => Ok(()),
            Door::Public(None) => Err(ApiError::NotFound),
            Door::Public(Some(token)) => {
                let sent = bearer(request.headers()).unwrap_or_default();
                let same: bool = sent.as_bytes().ct_eq(token.expose().as_bytes()).into();
                // As if nothing were there: a scanner learns nothing, and the operator knows.
                if same { Ok(()) } else { Err(ApiError::NotFound) }
            }
        }
    }
}

impl Endpoint for Metrics {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        self.admit(&request)?;
        let text = metrics::render(&self.service).await;
        Ok(Response::builder()
            .status(StatusCode::OK)
            .header(header::CONTENT_TYPE, TEXT)
            .header(header::CACHE_CONTROL, "no-store")
            .body(text)
            .into_response())
    }
}

/// Answers `/metrics` and nothing else, to anybody, until `shutdown`. The listener has to be one
/// that only a private network reaches.
pub async fn serve(listener: TcpListener, service: Service, shutdown: CancellationToken) {
    let endpoint = Metrics { service, door: Door::Open };
    let named = Named { name: METRICS, methods: METHODS, inner: get(endpoint) };
    let app = Observed::new(Route::new().at(METRICS, named));
    // A scrape takes a second: there is nothing to wait for.
    server::serve(listener, app, Limits::default(), shutdown, std::time::Duration::ZERO).await;
}
