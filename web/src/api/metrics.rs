//! `/metrics`: the metrics of this process for Prometheus. The public port requires a token.

use app::{App, metrics};
use http::{HeaderValue, StatusCode, header};
use mcp::http::bearer;
use platform::secret::Secret;
use poem::{Endpoint, IntoResponse, Request, Response, Route, get};
use subtle::ConstantTimeEq as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    http::{
        error::ApiError,
        observe::{Named, Observed},
        probes::METRICS,
        server,
    },
    instance::Instance,
};

/// The accepted methods, as in `Allow`.
pub(crate) const METHODS: &str = "GET, HEAD";

/// The text format of Prometheus.
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// The endpoint.
pub(crate) struct Metrics {
    app: App,
    access: Access,
}

/// Who may read the metrics.
enum Access {
    /// Everyone who can reach the port.
    Everyone,
    /// Clients with the token. No client if no token is configured.
    WithToken(Option<Secret>),
}

impl Metrics {
    /// The endpoint on the public port.
    pub(crate) fn new(instance: &Instance) -> Self {
        let token = instance.app.config().metrics.token.clone();
        Self { app: instance.app.clone(), access: Access::WithToken(token) }
    }

    fn authorize(&self, request: &Request) -> Result<(), ApiError> {
        match &self.access {
            Access::Everyone => Ok(()),
            Access::WithToken(None) => Err(ApiError::not_found()),
            Access::WithToken(Some(token)) => {
                let sent = bearer(request.headers()).unwrap_or_default();
                let same: bool = sent.as_bytes().ct_eq(token.expose().as_bytes()).into();
                // The same response as for an unknown path, so that scanners cannot detect the endpoint.
                if same { Ok(()) } else { Err(ApiError::not_found()) }
            }
        }
    }
}

impl Endpoint for Metrics {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        self.authorize(&request)?;
        let text = metrics::render(&self.app).await;
        Ok(Response::builder()
            .status(StatusCode::OK)
            .header(header::CONTENT_TYPE, TEXT)
            .header(header::CACHE_CONTROL, "no-store")
            .body(text)
            .into_response())
    }
}

/// Serves `/metrics` without authentication until `shutdown`. The listener must be reachable from a
/// private network only.
pub async fn serve(listener: TcpListener, app: App, shutdown: CancellationToken) {
    let brand = *app.product().brand();
    let endpoint = Metrics { app, access: Access::Everyone };
    let named = Named { name: METRICS, methods: METHODS, inner: get(endpoint) };
    let app = Observed::new(brand, Route::new().at(METRICS, named));
    // A scrape is short, so there is no grace period.
    server::serve(listener, app, shutdown, std::time::Duration::ZERO).await;
}
