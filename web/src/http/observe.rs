//! One request, one id, one log line.

use std::{
    panic::AssertUnwindSafe,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use ::mcp::{About, CallFailure, trace};
use futures_util::FutureExt;
use http::{HeaderValue, Method, StatusCode, header};
use poem::{Endpoint, IntoResponse, Request, Response};
use tracing::{Instrument, Span};

use service::{metrics, oauth::audit::Parties};

use super::{
    error::{self, ApiError},
    probes::PROBES,
    request_id::{REQUEST_ID, RequestId},
};

/// The route that answered, put into its response: unlike the path it is from a closed set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RouteName(pub &'static str);

/// Marks a response that tells of a failure of the server although its status is no 5xx, such as a
/// redirect that takes an error to a client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ServerFailed;

/// Wraps everything: names the request, answers what no route answered, and logs.
pub(crate) struct Observed<E> {
    inner: E,
    probes: Probes,
}

impl<E> Observed<E> {
    /// Wraps all routes of one listener.
    pub(crate) fn new(inner: E) -> Self {
        Self { inner, probes: Probes::default() }
    }
}

impl<E: Endpoint<Output = Response>> Endpoint for Observed<E> {
    type Output = Response;

    async fn call(&self, mut request: Request) -> poem::Result<Response> {
        let started = Instant::now();
        let id = RequestId::of(request.headers());
        request.set_data(id.clone());
        let parties = Parties::default();
        request.set_data(parties.clone());
        let method = request.method().clone();
        let span = if PROBES.contains(&request.uri().path()) {
            tracing::info_span!("request", request_id = %id) // nobody follows it
        } else {
            trace::request(id.as_str(), known(&method), request.headers())
        };
        let waiting = metrics::HTTP_ACTIVE_REQUESTS.while_held([]);

        let answer = self.inner.call(request).instrument(span.clone()).await;
        let mut response =
            answer.unwrap_or_else(|error| error::from_poem(error, "").into_response(&id));

        drop(waiting);
        let headers = response.headers_mut();
        headers.insert(
            REQUEST_ID,
            HeaderValue::try_from(id.as_str()).expect("letters, digits, dots, dashes only"),
        );
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        let elapsed = started.elapsed();
        count(&method, &response, elapsed);
        describe(&span, &response);
        let is_noise = self.probes.is_noise(&response);
        span.in_scope(|| log(&method, &response, &parties, elapsed, is_noise));
        Ok(response)
    }
}

/// How often good answers to one probe get a line in the log: a platform asks every few seconds. Bad
/// ones always do.
const PROBE_LINE_EVERY: Duration = Duration::from_mins(1);

/// When each probe last had a line.
#[derive(Default)]
struct Probes([Mutex<Option<Instant>>; PROBES.len()]);

impl Probes {
    /// Whether a response is one more good answer to a probe.
    fn is_noise(&self, response: &Response) -> bool {
        let route = route_of(response);
        let Some(index) = PROBES.iter().position(|it| *it == route) else {
            return false;
        };
        if !response.status().is_success() {
            return false;
        }
        let mut last = self.0[index].lock().unwrap_or_else(PoisonError::into_inner);
        let is_noise = last.is_some_and(|it| it.elapsed() < PROBE_LINE_EVERY);
        if !is_noise {
            *last = Some(Instant::now());
        }
        is_noise
    }
}

fn route_of(response: &Response) -> &'static str {
    response.data::<RouteName>().map_or("none", |route| route.0)
}

/// Tells a trace what became of a request.
fn describe(span: &Span, response: &Response) {
    let status = response.status();
    span.record("http.route", route_of(response));
    span.record("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        span.record("otel.status_code", "ERROR");
    }
}

/// Writes the line of one request. For an event stream it comes when the stream begins. What a call
/// of `/mcp` was about is in its response.
fn log(
    method: &Method,
    response: &Response,
    parties: &Parties,
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
    let spoken = mcp_method.filter(|it| *it != method.as_str()); // GET and DELETE are in both
    let what = [spoken, mcp_name]
        .into_iter()
        .flatten()
        .fold(format!("{method} {route}"), |text, word| text + " " + word);

    // The level of an event is fixed where it is written, so there is one per level.
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                %method,
                route,
                status = status.as_u16(),
                duration_ms,
                outcome,
                user = parties.user(),
                client = parties.client(),
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

/// Counts one request.
fn count(method: &Method, response: &Response, duration: Duration) {
    let status = response.status();
    let route = route_of(response);
    metrics::HTTP_REQUEST_DURATION.took([route, known(method), status.as_str()], duration);
    if status.is_server_error() {
        metrics::HTTP_FAILURES.count([route, "status"]);
    } else if outcome_of(response) == FAILED {
        metrics::HTTP_FAILURES.count([route, "answer"]);
    }
}

/// The method, from a closed set: a client may send any word.
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

/// The outcome of a request that the server is to blame for.
pub(crate) const FAILED: &str = "failed";

/// How a request ended, in one word: for [`FAILED`] the server is to blame, for `refused` the client.
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

/// One route of the list: tells its name to the log, its methods to a client that used another, and
/// answers for it when it panics.
pub(crate) struct Named<E> {
    /// As in the list.
    pub name: &'static str,
    /// The value of `Allow`.
    pub methods: &'static str,
    /// What answers.
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
            // Written by an API already.
            Ok(Err(error)) if error.is_from_response() => error.into_response(),
            Ok(Err(error)) => error::from_poem(error, self.methods).into_response(&id),
            Err(_panic) => ApiError::Internal.into_response(&id), // the panic hook has logged it
        };
        response.set_data(RouteName(self.name));
        Ok(response)
    }
}

/// Whether a route answers `OPTIONS` itself: one that pages of other origins may use.
fn takes_options(methods: &str) -> bool {
    methods.split(", ").any(|it| it == Method::OPTIONS.as_str())
}

/// The answer to `OPTIONS` of a route that pages of other origins may not use: its methods, and nothing
/// that a preflight would need.
fn options(methods: &str) -> Response {
    let mut response = Response::from(StatusCode::NO_CONTENT);
    let allowed = HeaderValue::try_from(format!("{methods}, OPTIONS"));
    response.headers_mut().insert(header::ALLOW, allowed.expect("names of methods are plain"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_tells_our_fault_from_that_of_the_client() {
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
    async fn a_panic_is_answered_with_500_and_without_detail() {
        let inner = poem::endpoint::make(|_| async {
            assert!(std::hint::black_box(false), "the password is hunter2");
        });
        let observed = Observed::new(Named { name: "/x", methods: "GET", inner });
        let request = Request::builder().header(REQUEST_ID, "mine").finish();
        let mut response = observed.call(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(response.headers()[REQUEST_ID], "mine");
        let body = response.take_body().into_string().await.unwrap();
        assert!(body.contains("mine") && !body.contains("hunter2"), "{body}");
    }
}
