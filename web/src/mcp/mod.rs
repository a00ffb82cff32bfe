//! `/mcp`: the HTTP layer around the MCP engine.
//!
//! The endpoint checks `Host` and `Origin`, then the access token, and only then reads the body.
//! The engine interprets the body and decides the status of the response.

mod caller;
mod measure;
pub(crate) mod paths;

use std::{io, time::Duration};

use ::mcp::{
    Caller, Engine, Reply,
    http::{OriginPolicy, ResponseBody, Scheme, response},
};
use app::{App, metrics};
use futures_util::StreamExt;
use http::{HeaderValue, Method, StatusCode, header};
use oauth::limits;
use platform::http_listener::LongResponse;
use poem::{Body, Endpoint, Request, Response};

use self::{
    caller::{Authenticated, CallerError},
    measure::Measurement,
};
use crate::{
    http::{
        body::{self, bounds::Bounds, budget::Budget},
        cors, dpop,
        error::ApiError,
        rate_limit,
        request_id::RequestId,
        request_info::log_context,
    },
    instance::Instance,
};

/// Allows large arguments, batches, and messages of a client's model.
const BODY: Bounds = Bounds { bytes: 4 * 1024 * 1024, time: Duration::from_mins(1) };

/// The accepted methods, as in `Allow`.
pub(crate) const METHODS: &str = "GET, POST, DELETE, OPTIONS";

/// The method whose response is open until the client disconnects (2026-07-28).
const LISTEN: &str = "subscriptions/listen";

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
            origin_policy: OriginPolicy::new(
                config.public_url.origin(),
                &config.http.allowed_origins,
            )?,
        })
    }

    async fn respond_to(&self, request: Request) -> Result<Response, ApiError> {
        let (method, path) = (request.method(), request.uri().path());
        let authenticated = caller::authenticate(&self.app, method, path, request.headers()).await;
        let Authenticated { mut caller, scheme, dpop_nonce } = match authenticated {
            Ok(authenticated) => authenticated,
            Err(error) => return Err(self.refuse(&request, error).await),
        };
        let context = log_context(&request);
        context.set_user(caller.user.as_str());
        context.set_client(&caller.client);
        caller.request = request.data::<RequestId>().map(RequestId::share);
        let measurement = Measurement::start(request.method());
        let (head, body) = request.into_parts();
        if head.method == Method::GET && head.headers.contains_key("last-event-id") {
            metrics::MCP_STREAM_RESUMES.increment([]);
        }
        let mut reply = match head.method {
            Method::POST => {
                let reservation = self.bodies.begin(caller.user.as_str())?;
                let body = body::read(&head.headers, body, BODY, reservation).await?;
                self.engine.post(caller.clone(), &head.headers, body.bytes.clone()).await
            }
            Method::GET => self.engine.get(caller.clone(), &head.headers).await,
            Method::DELETE => self.engine.delete(caller.clone(), &head.headers).await,
            _ => return Err(ApiError::method_not_allowed(METHODS)),
        };
        reply.body = measurement.finish(reply.status, &reply.about, reply.body);
        let is_long = head.method == Method::GET || reply.about.method == Some(LISTEN);
        let mut response = self.response(&caller, scheme, head.uri.path(), reply);
        if let Some(nonce) = dpop_nonce {
            response.headers_mut().insert(dpop::NONCE, nonce);
        }
        if is_long && is_event_stream(&response) {
            response.extensions_mut().insert(LongResponse);
        }
        Ok(response)
    }

    /// The error of a request without a caller. An invalid token counts against the client's
    /// network; if that exceeds the limit, the result is the error of the limit. A request without
    /// a token is not counted: that is how discovery starts.
    async fn refuse(&self, request: &Request, error: CallerError) -> ApiError {
        if error.is_for_invalid_token() {
            let network = rate_limit::network(&self.app, request);
            let counted = rate_limit::take(&self.app, &limits::UNAUTHORIZED, &network).await;
            if let Err(limited) = counted {
                return limited;
            }
        }
        error.into()
    }

    fn response(&self, caller: &Caller, scheme: Scheme, path: &str, reply: Reply) -> Response {
        let metadata = || Some(caller::resource_metadata(&self.app, path));
        let (head, body) = response(reply, &caller.scopes, scheme, metadata).into_parts();
        let mut response = Response::builder().status(head.status).finish();
        *response.headers_mut() = head.headers;
        *response.extensions_mut() = head.extensions;
        match body {
            ResponseBody::Empty => {}
            ResponseBody::Full(bytes) => response.set_body(bytes),
            ResponseBody::Events(events) => {
                response.set_body(Body::from_bytes_stream(events.map(Ok::<_, io::Error>)));
            }
        }
        if response.status() == StatusCode::METHOD_NOT_ALLOWED {
            // Preflights are answered here.
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(METHODS));
        }
        response
    }
}

fn is_event_stream(response: &Response) -> bool {
    response.headers().get(header::CONTENT_TYPE).is_some_and(|it| it == "text/event-stream")
}

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
            // Boxed: poem moves the future of an endpoint several times.
            Box::pin(self.respond_to(request)).await
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
