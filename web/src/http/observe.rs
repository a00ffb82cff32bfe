//! Gives each request an id, a span, a log line and metrics.

use std::{
    panic::AssertUnwindSafe,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use ::mcp::{About, CallFailure, trace};
use app::{Brand, metrics};
use futures_util::FutureExt;
use http::{HeaderValue, Method, StatusCode, header};
use oauth::audit::LogContext;
use poem::{Endpoint, IntoResponse, Request, Response};
use tracing::{Instrument, Span};

use super::{
    error::{self, ApiError},
    probes::PROBES,
    request_id::{REQUEST_ID, RequestId},
};

/// The route of a response. Unlike the path it comes from a closed set, so it can be a metric
/// label.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RouteName(pub &'static str);

/// Marks a response as a failure of the server although its status is not 5xx, such as a redirect
/// that carries an error to a client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ServerFailed;

/// The outermost endpoint: assigns the request id, converts errors that no route has handled, logs
/// and counts.
pub(crate) struct Observed<E> {
    inner: E,
    brand: Brand,
    probes: Probes,
}

impl<E> Observed<E> {
    /// Wraps all routes of one listener.
    pub(crate) fn new(brand: Brand, inner: E) -> Self {
        Self { inner, brand, probes: Probes::default() }
    }
}

impl<E: Endpoint<Output = Response>> Endpoint for Observed<E> {
    type Output = Response;

    async fn call(&self, mut request: Request) -> poem::Result<Response> {
        let started = Instant::now();
        let id = RequestId::of(request.headers());
        request.set_data(id.clone());
        request.set_data(self.brand);
        let context = LogContext::default();
        request.set_data(context.clone());
        let method = request.method().clone();
        let span = if PROBES.contains(&request.uri().path()) {
            tracing::info_span!("request", request_id = %id) // not part of a trace
        } else {
            trace::request(id.as_str(), known(&method), request.headers())
        };
        let waiting = metrics::HTTP_ACTIVE_REQUESTS.hold([]);

        let answer = self.inner.call(request).instrument(span.clone()).await;
        let mut response =
            answer.unwrap_or_else(|error| error::from_poem(error, "").into_response(&id));

        drop(waiting);
        let headers = response.headers_mut();
        headers.insert(
            REQUEST_ID,
            HeaderValue::try_from(id.as_str()).expect("request ids are valid header values"),
        );
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        let elapsed = started.elapsed();
        count(&method, &response, elapsed);
        describe(&span, &response);
        let is_noise = self.probes.is_noise(&response);
        span.in_scope(|| log(&method, &response, &context, elapsed, is_noise));
        Ok(response)
    }
}

/// Minimum time between two log lines (at level info) for successful responses to one probe.
/// Failures are always logged.
const PROBE_LINE_EVERY: Duration = Duration::from_mins(1);

/// When a success of each probe was last logged.
#[derive(Default)]
struct Probes([Mutex<Option<Instant>>; PROBES.len()]);

impl Probes {
    /// Whether a response is a successful probe within [`PROBE_LINE_EVERY`] of the last logged one.
    fn is_noise(&self, response: &Response) -> bool {
        let route = route_of(response);
        let Some(index) = PROBES.iter().position(|probe| *probe == route) else {
            return false;
        };
        if !response.status().is_success() {
            return false;
        }
        let mut last = self.0[index].lock().unwrap_or_else(PoisonError::into_inner);
        let is_noise = last.is_some_and(|logged| logged.elapsed() < PROBE_LINE_EVERY);
        if !is_noise {
            *last = Some(Instant::now());
        }
        is_noise
    }
}

fn route_of(response: &Response) -> &'static str {
    response.data::<RouteName>().map_or("none", |route| route.0)
}

/// Records the result in the trace span.
fn describe(span: &Span, response: &Response) {
    let status = response.status();
    span.record("http.route", route_of(response));
    span.record("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        span.record("otel.status_code", "ERROR");
    }
}

/// Logs one request. For an event stream the line is written when the stream opens. Details of an
/// MCP call come from the [`About`] in its response.
fn log(
    method: &Method,
    response: &Response,
    context: &LogContext,
    duration: Duration,
    is_noise: bool,
) {
    let status = response.status();
    let route = route_of(response);
    let about = response.data::<About>();
    let outcome = outcome_of(response);
    let era = about.and_then(|about| about.era);
    let mcp_method = about.and_then(|about| about.method);
    let mcp_name = about.and_then(|about| about.target.as_deref());
    let session = about.and_then(|about| about.session.as_deref());
    let rpc_error = about.and_then(|about| about.failure?.code());
    let job = about.and_then(|about| about.job.as_ref()).map(AsRef::as_ref);
    let duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    // The MCP method of GET and DELETE requests has the same name as the HTTP method.
    let shown_mcp_method = mcp_method.filter(|name| *name != method.as_str());
    let what = [shown_mcp_method, mcp_name]
        .into_iter()
        .flatten()
        .fold(format!("{method} {route}"), |text, word| text + " " + word);

    // tracing fixes the level of an event at its call site, so there is one call site per level.
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                %method,
                route,
                status = status.as_u16(),
                duration_ms,
                outcome,
                user = context.user(),
                client = context.client(),
                era,
                mcp_method,
                mcp_name,
                rpc_error,
                session,
                job,
                "{what} answered {} in {duration_ms} ms",
                status.as_u16()
            )
        };
    }
    if status == StatusCode::INTERNAL_SERVER_ERROR {
        line!(error);
    } else if outcome == FAILED {
        line!(warn);
    } else if is_noise {
        line!(debug);
    } else {
        line!(info);
    }
}

/// Counts one request in the metrics.
fn count(method: &Method, response: &Response, duration: Duration) {
    let status = response.status();
    let route = route_of(response);
    metrics::HTTP_REQUEST_DURATION.observe([route, known(method), status.as_str()], duration);
    if status.is_server_error() {
        metrics::HTTP_FAILURES.increment([route, "status"]);
    } else if outcome_of(response) == FAILED {
        metrics::HTTP_FAILURES.increment([route, "answer"]);
    }
}

/// The method, limited to a closed set for metrics: clients may send any method.
fn known(method: &Method) -> &str {
    match *method {
        Method::GET
        | Method::POST
        | Method::DELETE
        | Method::OPTIONS
        | Method::HEAD
        | Method::PUT
        | Method::PATCH => method.as_str(),
        _ => "other",
    }
}

/// The outcome of a request that failed because of the server.
pub(crate) const FAILED: &str = "failed";

/// The outcome of a request in one word: [`FAILED`] is caused by the server, `refused` by the
/// client.
pub(crate) fn outcome(status: StatusCode, failure: Option<CallFailure>) -> &'static str {
    match failure {
        _ if status.is_server_error() => FAILED,
        _ if status.is_client_error() => "refused",
        Some(failure) if failure.is_fault() => FAILED,
        Some(CallFailure::Tool) => "tool_error",
        Some(_) => "refused",
        None => "ok",
    }
}

fn outcome_of(response: &Response) -> &'static str {
    if response.data::<ServerFailed>().is_some() {
        return FAILED;
    }
    let about = response.data::<About>();
    outcome(response.status(), about.and_then(|about| about.failure))
}

/// One route: labels its responses, handles `OPTIONS`, and converts errors and panics of the
/// endpoint into responses.
pub(crate) struct Named<E> {
    /// The name in logs and metrics.
    pub name: &'static str,
    /// The accepted methods, as in `Allow`.
    pub methods: &'static str,
    pub inner: E,
}

impl<E: Endpoint> Endpoint for Named<E> {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let id = request.data::<RequestId>().cloned();
        let id = id.unwrap_or_else(|| RequestId::of(request.headers()));
        if request.method() == Method::OPTIONS && !takes_options(self.methods) {
            let mut response = options(self.methods);
            response.set_data(RouteName(self.name));
            return Ok(response);
        }
        let answering = AssertUnwindSafe(self.inner.call(request)).catch_unwind();
        let mut response = match answering.await {
            Ok(Ok(answer)) => answer.into_response(),
            // Already a complete response of poem-openapi.
            Ok(Err(error)) if error.is_from_response() => error.into_response(),
            Ok(Err(error)) => error::from_poem(error, self.methods).into_response(&id),
            Err(_panic) => ApiError::internal().into_response(&id), // the panic hook has logged it
        };
        response.set_data(RouteName(self.name));
        Ok(response)
    }
}

/// Whether a route handles `OPTIONS` itself, because pages of other origins may use it.
fn takes_options(methods: &str) -> bool {
    methods.split(", ").any(|method| method == Method::OPTIONS.as_str())
}

/// The response to `OPTIONS` for a route without CORS: its methods, and no CORS headers.
fn options(methods: &str) -> Response {
    let mut response = Response::from(StatusCode::NO_CONTENT);
    let allowed = HeaderValue::try_from(format!("{methods}, OPTIONS"));
    response
        .headers_mut()
        .insert(header::ALLOW, allowed.expect("method names are valid header values"));
    response
}

/// A brand without names, for tests.
#[cfg(test)]
pub(crate) const NO_BRAND: Brand = Brand {
    program: "",
    worker_program: "",
    version: "",
    title: "",
    things: "",
    description: "",
    instructions: "",
    icon: "",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_distinguish_server_failures_from_client_errors() {
        for (status, failure, expected) in [
            (200, None, "ok"),
            (200, Some(CallFailure::Rpc(-32_602)), "refused"),
            (200, Some(CallFailure::Rpc(-32_603)), "failed"),
            (200, Some(CallFailure::AccessEnded), "refused"),
            (200, Some(CallFailure::Tool), "tool_error"),
            (200, Some(CallFailure::Fault), "failed"),
            (404, Some(CallFailure::Rpc(-32_601)), "refused"),
            (503, Some(CallFailure::Rpc(-32_603)), "failed"),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(outcome(status, failure), expected, "{status} {failure:?}");
        }
        assert_eq!(outcome(StatusCode::BAD_REQUEST, None), "refused");
    }

    #[tokio::test]
    async fn a_panic_becomes_a_500_without_details() {
        let inner = poem::endpoint::make(|_| async {
            assert!(std::hint::black_box(false), "the password is hunter2");
        });
        let observed = Observed::new(NO_BRAND, Named { name: "/x", methods: "GET", inner });
        let request = Request::builder().header(REQUEST_ID, "mine").finish();
        let mut response = observed.call(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(response.headers()[REQUEST_ID], "mine");
        let body = response.take_body().into_string().await.unwrap();
        assert!(body.contains("mine") && !body.contains("hunter2"), "{body}");
    }
}
