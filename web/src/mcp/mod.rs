//! `/mcp`: the HTTP layer around the MCP engine.
//!
//! The endpoint checks `Host` and `Origin`, then the access token, and only then reads the body.
//! The engine interprets the body and decides the status of the response.

mod caller;
mod measure;
pub(crate) mod paths;

use std::{io, time::Duration};

use ::mcp::{
    Caller, Engine, Quota, Reply, ReplyBody,
    http::{OriginPolicy, insufficient_scope},
};
use app::{App, metrics};
use futures_util::StreamExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use oauth::limits;
use poem::{Body, Endpoint, Request, Response};

use self::measure::Measurement;
use crate::{
    http::{
        body::{self, bounds::Bounds, budget::Budget},
        cors,
        error::{ApiError, RETRY_AFTER_SECONDS},
        rate_limit,
        request_id::RequestId,
        request_info::log_context,
    },
    instance::Instance,
};

/// The largest note has 100,000 characters, at most 600 kB of JSON; the rest is room for batches
/// and for messages of a client's model.
const BODY: Bounds = Bounds { bytes: 4 * 1024 * 1024, time: Duration::from_mins(1) };

/// The accepted methods, as in `Allow`.
pub(crate) const METHODS: &str = "GET, POST, DELETE, OPTIONS";

const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");

/// The endpoint.
pub(crate) struct Mcp {
    app: App,
    engine: Engine,
    origin_policy: OriginPolicy,
    bodies: Budget,
}

impl Mcp {
    /// The endpoint of one instance.
    pub(crate) fn new(instance: &Instance) -> anyhow::Result<Self> {
        let config = instance.app.config();
        Ok(Self {
            app: instance.app.clone(),
            engine: instance.engine.clone(),
            bodies: instance.bodies.clone(),
            origin_policy: OriginPolicy::new(config.public_url.origin(), &config.allowed_origins)?,
        })
    }

    async fn respond_to(&self, request: Request) -> Result<Response, ApiError> {
        let mut caller =
            match caller::authenticate(&self.app, request.uri().path(), request.headers()).await {
                Ok(caller) => caller,
                Err(error) => return Err(self.count_bad_token(&request, error).await),
            };
        let context = log_context(&request);
        context.set_user(caller.user.as_str());
        context.set_client(&caller.client);
        caller.request = request.data::<RequestId>().map(RequestId::share);
        let measurement = Measurement::start(request.method());
        let (head, body) = request.into_parts();
        if head.method == Method::GET && head.headers.contains_key("last-event-id") {
            metrics::MCP_STREAM_RESUMES.count([]);
        }
        let mut reply = match head.method {
            Method::POST => {
                let reservation = self.bodies.begin(caller.user.as_str())?;
                let body = body::read(&head.headers, body, BODY, reservation).await?;
                self.engine.post(caller.clone(), &head.headers, body.bytes.clone()).await
            }
            Method::GET => self.engine.get(caller.clone(), &head.headers).await,
            Method::DELETE => self.engine.delete(caller.clone(), &head.headers).await,
            _ => return Err(ApiError::MethodNotAllowed(METHODS)),
        };
        reply.body = measurement.finish(reply.status, &reply.about, reply.body);
        Ok(self.response(&caller, head.uri.path(), reply))
    }

    /// Counts an invalid token against the client's network, and returns the error of an exceeded
    /// limit in place of `error`. A request without a token is not counted: that is how discovery
    /// starts.
    async fn count_bad_token(&self, request: &Request, error: ApiError) -> ApiError {
        let is_a_guess =
            matches!(&error, ApiError::Unauthorized(challenge) if challenge.is_for_invalid_token());
        if !is_a_guess {
            return error;
        }
        let network = rate_limit::network(&self.app, request);
        let taken = rate_limit::take(&self.app, &limits::UNAUTHORIZED, &network).await;
        taken.err().unwrap_or(error)
    }

    fn response(&self, caller: &Caller, path: &str, reply: Reply) -> Response {
        let mut response = Response::builder().status(reply.status).finish();
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(session) = reply.session.and_then(|id| HeaderValue::try_from(id).ok()) {
            headers.insert(SESSION_ID, session);
        }
        if reply.status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(header::ALLOW, HeaderValue::from_static(METHODS));
        }
        if let Some(quota) = &reply.quota {
            rate_limit(headers, quota);
        }
        if reply.status == StatusCode::TOO_MANY_REQUESTS {
            let wait = reply.retry_after.or(reply.quota.map(|quota| quota.reset));
            let seconds = wait.map_or(RETRY_AFTER_SECONDS.into(), |wait| wait.as_secs().max(1));
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if reply.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER_SECONDS.into());
        }
        match reply.body {
            ReplyBody::Empty => {}
            ReplyBody::Json(body) => {
                headers.insert(header::CONTENT_TYPE, JSON);
                response.set_body(body);
            }
            ReplyBody::Events(events) => {
                headers.insert(header::CONTENT_TYPE, EVENT_STREAM);
                // Proxies such as nginx would otherwise buffer events.
                headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
                response.set_body(Body::from_bytes_stream(events.map(Ok::<_, io::Error>)));
            }
            ReplyBody::InsufficientScope { needed, body } => {
                let metadata = caller::resource_metadata(&self.app, path);
                let challenge = insufficient_scope(Some(&metadata), &caller.scopes, &needed);
                headers.insert(header::WWW_AUTHENTICATE, challenge);
                headers.insert(header::CONTENT_TYPE, JSON);
                response.set_body(body);
                response.set_status(StatusCode::FORBIDDEN);
            }
        }
        response.set_data(reply.about);
        response
    }
}

/// The headers of the caller's quota (draft-ietf-httpapi-ratelimit-headers-10).
fn rate_limit(headers: &mut HeaderMap, quota: &Quota) {
    let Quota { policy, limit, window, remaining, reset } = quota;
    let fields = [
        (RATE_LIMIT_POLICY, format!("\"{policy}\";q={limit};w={}", window.as_secs())),
        (RATE_LIMIT, format!("\"{policy}\";r={remaining};t={}", reset.as_secs())),
    ];
    for (name, value) in fields {
        let value =
            HeaderValue::try_from(value).expect("policy names and numbers are visible ASCII");
        headers.insert(name, value);
    }
}

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");

impl Endpoint for Mcp {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let id = request.data::<RequestId>().cloned();
        let port = request.local_addr().as_socket_addr().map(std::net::SocketAddr::port);
        let origin = self.origin_policy.check(request.uri(), request.headers(), port);
        let origin = origin.map_err(ApiError::from)?;
        let response = if request.method() == Method::OPTIONS {
            Ok(cors::preflight(request.headers(), METHODS))
        } else {
            self.respond_to(request).await
        };
        // Errors are converted here, inside CORS, so that pages can read them, too.
        let mut response = match (response, id) {
            (Ok(response), _) => response,
            (Err(error), Some(id)) => error.into_response(&id),
            (Err(error), None) => return Err(error.into()),
        };
        cors::allow(&mut response, origin);
        Ok(response)
    }
}
