//! Pages for people: how they are written, which headers they have, and what somebody reads when
//! something goes wrong.
//!
//! A page is a template, which escapes everything, with one style sheet that a nonce admits. No page
//! has a script, an image or anything from elsewhere.

use std::{borrow::Cow, panic::AssertUnwindSafe, time::Duration};

use askama::Template;
use futures_util::FutureExt as _;
use http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use poem::{Endpoint, Request, Response, error::ResponseError};
use service::{Service, config::PublicUrl};
use url::form_urlencoded;

use crate::{
    Instance,
    http::{
        body::{self, Bounds},
        error::{self, Refusal},
        observe::RequestId,
        origin::Doors,
        visitor,
    },
};

/// What every template has: the nonce of its style sheet, and the request id.
pub(crate) struct Frame {
    /// Admits the style sheet of this one page.
    pub nonce: String,
    /// What the operator finds the request by.
    pub request_id: String,
}

impl Frame {
    /// The frame of the answer to a request.
    pub(crate) fn of(request: &Request) -> Self {
        Self::with(request.data::<RequestId>().map_or_else(String::new, ToString::to_string))
    }

    fn with(request_id: String) -> Self {
        Self { nonce: uuid::Uuid::new_v4().simple().to_string(), request_id }
    }

    /// The page.
    pub(crate) fn show(&self, status: StatusCode, page: &impl Template) -> Response {
        let html = match page.render() {
            Ok(html) => html,
            Err(error) => {
                tracing::error!(%error, "A page could not be written: {error}");
                return StatusCode::INTERNAL_SERVER_ERROR.into();
            }
        };
        let policy = format!(
            "default-src 'none'; style-src 'nonce-{}'; base-uri 'none'; frame-ancestors 'none'",
            self.nonce
        );
        let mut response =
            Response::builder().status(status).content_type("text/html; charset=utf-8").body(html);
        if let Ok(policy) = HeaderValue::try_from(policy) {
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_SECURITY_POLICY, policy);
        }
        response
    }
}

/// Sends the browser elsewhere, with a request that has no body.
pub(crate) fn see_other(location: &str) -> Result<Response, Trouble> {
    let location = HeaderValue::try_from(location).map_err(|error| {
        tracing::error!(%error, "An address cannot be a header: {error}");
        Trouble::internal()
    })?;
    let mut response = Response::from(StatusCode::SEE_OTHER);
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}

/// What a person may pass on.
#[derive(Debug)]
pub(crate) struct Note {
    /// To whom.
    pub(crate) to: &'static str,
    pub(crate) text: String,
}

/// What a person reads when something does not go on: what happened, and what to do next.
#[derive(Debug, thiserror::Error)]
#[error("{title}")]
pub(crate) struct Trouble {
    pub(crate) status: StatusCode,
    pub(crate) title: Cow<'static, str>,
    /// What happened.
    pub(crate) what: Cow<'static, str>,
    /// What to do next.
    pub(crate) next: Cow<'static, str>,
    /// Where to go, and the words of the link.
    pub(crate) link: Option<Box<(String, String)>>,
    /// For a third party, such as the author of the app.
    pub(crate) note: Option<Box<Note>>,
    header: Option<Box<(HeaderName, HeaderValue)>>,
}

impl Trouble {
    /// What happened and what to do next.
    pub(crate) fn new(
        status: StatusCode,
        title: &'static str,
        what: impl Into<Cow<'static, str>>,
        next: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            status,
            title: title.into(),
            what: what.into(),
            next: next.into(),
            link: None,
            note: None,
            header: None,
        }
    }

    /// Something that usually comes back by itself is away.
    pub(crate) fn unavailable() -> Self {
        let trouble = Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "Not possible at the moment",
            "A part of this server does not answer. Nothing has been changed.",
            "Wait a few seconds and load this page again.",
        );
        trouble.retry_after(error::RETRY_AFTER_SECONDS.into())
    }

    /// The browser asked for the page before the person opened it. A client error, because a browser
    /// shows a person a prefetched page only if it came with success.
    fn too_early() -> Self {
        Self::new(
            StatusCode::TOO_EARLY,
            "Not opened yet",
            "Your browser asked for this page before you opened it. Nothing has been started.",
            "Open the link again.",
        )
    }

    /// A page of another site embedded this one, or loaded it by a script.
    pub(crate) fn embedded() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "This page cannot be part of another one",
            "A page of another site loaded it without opening it. Nothing has been started.",
            "Open the link in a tab of its own.",
        )
    }

    /// Whether it is the visitor's request that is wrong, not this server.
    pub(crate) fn is_of_the_visitor(&self) -> bool {
        self.status.is_client_error()
    }

    /// More requests than may be made; worth another try after this long.
    pub(crate) fn too_many(what: &'static str, wait: Duration) -> Self {
        let next = format!("Wait {} seconds and load this page again.", wait.as_secs().max(1));
        let trouble = Self::new(StatusCode::TOO_MANY_REQUESTS, "Too many requests", what, next);
        trouble.retry_after(wait.as_secs().max(1))
    }

    /// A bug. The log has the details.
    pub(crate) fn internal() -> Self {
        Self::from(Refusal::Internal)
    }

    /// A form that did not come from the page in front of the person.
    pub(crate) fn forged() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "This form cannot be used",
            "It did not come from a page of this server in this browser. Nothing has been changed.",
            "Go back, load the page again, and use the form on it.",
        )
    }

    /// A link to go on with.
    pub(crate) fn with_link(mut self, words: impl Into<String>, href: impl Into<String>) -> Self {
        self.link = Some(Box::new((words.into(), href.into())));
        self
    }

    /// More, for whoever wrote the client.
    pub(crate) fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.note = Some(Box::new(Note { to: "whoever made the app", text: detail.into() }));
        self
    }

    /// What the person who runs the server can do about it.
    pub(crate) fn with_operator_hint(mut self, hint: impl Into<String>) -> Self {
        self.note =
            Some(Box::new(Note { to: "the person who runs this server", text: hint.into() }));
        self
    }

    fn retry_after(mut self, seconds: u64) -> Self {
        self.header = Some(Box::new((header::RETRY_AFTER, seconds.into())));
        self
    }
}

impl ResponseError for Trouble {
    fn status(&self) -> StatusCode {
        self.status
    }
}

impl From<Refusal> for Trouble {
    fn from(refusal: Refusal) -> Self {
        let (status, _, description) = refusal.parts();
        let (title, next) = match refusal {
            Refusal::TooMany(_) => (
                "Too many requests",
                "Load this page again after that. A sign-in that you have begun goes on.",
            ),
            Refusal::Host => ("Not the address of this server", "Use the address in PUBLIC_URL."),
            Refusal::Method(_) => ("Not possible this way", "Start again from the beginning."),
            Refusal::Internal => ("Something went wrong", "Try again in a moment."),
            _ => ("This request cannot be used", "Go back and try again."),
        };
        let header = refusal.header().map(Box::new);
        Self { header, ..Self::new(status, title, description, next) }
    }
}

#[derive(Template)]
#[template(path = "trouble.html")]
struct TroublePage<'a> {
    frame: &'a Frame,
    trouble: &'a Trouble,
}

/// A page, or a few with the same path: everything around what it says.
///
/// It answers under our own names only, has the headers that every page has, and turns whatever goes
/// wrong inside into a page.
pub(crate) struct Paged<E> {
    inner: E,
    doors: Doors,
    https: bool,
    in_popups: bool,
    methods: &'static str,
}

impl<E: Endpoint<Output = Response>> Paged<E> {
    /// Wraps a page of one instance that takes these methods.
    pub(crate) fn new(
        instance: &Instance,
        methods: &'static str,
        inner: E,
    ) -> anyhow::Result<Self> {
        let config = instance.service.config();
        Ok(Self {
            inner,
            doors: Doors::new(&config.public_url, &[])?,
            https: config.public_url.as_str().starts_with("https://"),
            in_popups: false,
            methods,
        })
    }

    /// The same for a step of a sign-in. A client in a web page shows it in a window that it opened,
    /// waits until that is closed, and hears of the end from its own page in it. To a window without
    /// its opener the first would happen at once, and the second never. All that the opener can do
    /// with ours is to send it elsewhere.
    pub(crate) fn in_popups(mut self) -> Self {
        self.in_popups = true;
        self
    }

    async fn answer(&self, request: Request) -> Result<Response, Trouble> {
        self.doors.check_host(request.uri(), request.headers(), visitor::local_port(&request))?;
        match request.method() {
            method if !self.methods.split(", ").any(|it| *method == it) => {
                return Err(Refusal::Method(self.methods).into());
            }
            // Anything but looking has to come from one of our own pages.
            &Method::POST if !self.is_from_here(&request) => return Err(Trouble::forged()),
            _ => {}
        }
        let answering = AssertUnwindSafe(self.inner.call(request)).catch_unwind();
        match answering.await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(match error.downcast::<Trouble>() {
                Ok(trouble) => trouble,
                Err(error) => error::refusal(error, self.methods).into(),
            }),
            Err(_panic) => Err(Trouble::internal()), // the panic hook has logged it
        }
    }

    /// Every browser of the last years says where a form was; an older one sends an `Origin`.
    fn is_from_here(&self, request: &Request) -> bool {
        let sites = request.headers().get_all("sec-fetch-site");
        if sites.iter().next().is_some() {
            return sites.iter().all(|site| site == "same-origin");
        }
        let port = visitor::local_port(request);
        let came_from = self.doors.check(request.uri(), request.headers(), port);
        matches!(came_from, Ok(Some(_)))
    }
}

impl<E: Endpoint<Output = Response>> Endpoint for Paged<E> {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let frame = Frame::of(&request);
        let answer = self.answer(request).await;
        let mut response = answer.unwrap_or_else(|trouble| {
            let page = TroublePage { frame: &frame, trouble: &trouble };
            let mut response = frame.show(trouble.status, &page);
            if let Some((name, value)) = trouble.header.map(|it| *it) {
                response.headers_mut().insert(name, value);
            }
            response
        });
        protect(&mut response, self.https, self.in_popups);
        Ok(response)
    }
}

/// What a person reads where there is nothing.
pub(crate) fn not_found(request: &RequestId, https: bool) -> Response {
    let trouble = Trouble::new(
        StatusCode::NOT_FOUND,
        "There is nothing here",
        "The address is not one of this server.",
        "Check it for a typing error, or begin at the start page.",
    );
    let trouble = trouble.with_link("Start page", "/");
    let frame = Frame::with(request.to_string());
    let page = TroublePage { frame: &frame, trouble: &trouble };
    let mut response = frame.show(trouble.status, &page);
    protect(&mut response, https, false);
    response
}

/// Whether whoever asks is a person with a browser: browsers name HTML, and programs do not.
pub(crate) fn is_for_a_person(request: &Request) -> bool {
    let accept = request.headers().get_all(header::ACCEPT);
    let mut ranges = accept.iter().filter_map(|it| it.to_str().ok()).flat_map(|it| it.split(','));
    let html = |range: &str| range.split(';').next().is_some_and(|it| it.trim() == "text/html");
    matches!(*request.method(), Method::GET | Method::HEAD) && ranges.any(html)
}

/// The headers of every page. There is no `form-action`: browsers apply it to the whole chain of
/// redirects, which ends at a client.
fn protect(response: &mut Response, https: bool, in_popups: bool) {
    let headers = response.headers_mut();
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(
        "default-src 'none'; base-uri 'none'; frame-ancestors 'none'",
    ));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    for (name, value) in PROTECTION {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if !in_popups {
        headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
    }
    if https {
        let value = HeaderValue::from_static("max-age=31536000");
        headers.insert(header::STRICT_TRANSPORT_SECURITY, value);
    }
}

const PROTECTION: [(&str, &str); 4] = [
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
    ("x-content-type-options", "nosniff"),
];

/// A form of one of our pages.
const FORM: Bounds = Bounds { bytes: 16 * 1024, time: Duration::from_secs(10) };

/// The fields of a form or of a query.
pub(crate) struct Fields(pub Vec<(String, String)>);

impl Fields {
    /// Those of the address.
    pub(crate) fn of_query(uri: &Uri) -> Self {
        Self::decode(uri.query().unwrap_or_default().as_bytes())
    }

    /// Those of the body of a form.
    pub(crate) async fn of_form(request: &mut Request) -> Result<Self, Trouble> {
        let body = request.take_body();
        let body = body::read_from_network(request, body, FORM).await?;
        Ok(Self::decode(&body.bytes))
    }

    /// The value of a field that is there once.
    pub(crate) fn one(&self, name: &str) -> Option<&str> {
        let mut values = self.all(name);
        let value = values.next()?;
        values.next().is_none().then_some(value)
    }

    /// The values of a field that may be there more than once.
    pub(crate) fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(it, _)| it == name).map(|(_, value)| value.as_str())
    }

    fn decode(text: &[u8]) -> Self {
        Self(form_urlencoded::parse(text).into_owned().collect())
    }
}

/// The answer to a request that must have no effect, for a page whose GET has one: to `HEAD`, which
/// programs send to check a link, and to a browser that loads the page before the person opens it.
/// `None` for every other request.
pub(crate) fn without_effect(request: &Request) -> Option<Result<Response, Trouble>> {
    if request.method() == Method::HEAD {
        return Some(Ok(StatusCode::OK.into()));
    }
    is_prefetch(request).then(|| Err(Trouble::too_early()))
}

/// Whether a browser asks before the person does (`Sec-Purpose`, and what came before it).
fn is_prefetch(request: &Request) -> bool {
    ["sec-purpose", "purpose", "x-moz", "x-purpose"]
        .iter()
        .flat_map(|name| request.headers().get_all(*name))
        .any(|value| {
            let value = value.as_bytes().to_ascii_lowercase();
            let value = String::from_utf8_lossy(&value);
            ["prefetch", "prerender", "preview"].iter().any(|it| value.contains(it))
        })
}

/// The address of the page itself, for a person who reads it.
pub(crate) fn host(service: &Service) -> &str {
    host_of(&service.config().public_url)
}

fn host_of(url: &PublicUrl) -> &str {
    let url = url.as_str();
    url.split_once("://").map_or(url, |(_, host)| host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_has_the_headers_that_protect_it() {
        for (https, in_popups) in [(true, false), (false, false), (true, true)] {
            let mut response = Response::default();
            protect(&mut response, https, in_popups);
            let header = |name: &str| response.header(name).unwrap_or_default().to_owned();
            assert_eq!(header("x-frame-options"), "DENY");
            assert_eq!(header("referrer-policy"), "no-referrer");
            assert_eq!(header("cache-control"), "no-store");
            let opener_policy = if in_popups { "" } else { "same-origin" };
            assert_eq!(header("cross-origin-opener-policy"), opener_policy);
            assert_eq!(header("cross-origin-resource-policy"), "same-origin");
            assert_eq!(header("x-content-type-options"), "nosniff");
            let policy = header("content-security-policy");
            assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("form-action"));
            assert_eq!(!header("strict-transport-security").is_empty(), https);
            assert!(!response.headers().keys().any(|it| it.as_str().starts_with("access-control")));
        }
    }

    #[test]
    fn each_page_has_a_nonce_of_its_own() {
        let request = Request::default();
        let (one, other) = (Frame::of(&request), Frame::of(&request));
        assert_ne!(one.nonce, other.nonce);
        let trouble = Trouble::forged();
        let page = TroublePage { frame: &one, trouble: &trouble };
        let response = one.show(StatusCode::FORBIDDEN, &page);
        let policy = response.header("content-security-policy").unwrap();
        assert!(policy.contains(&format!("style-src 'nonce-{}'", one.nonce)));
    }

    #[test]
    fn looking_ahead_has_no_effect() {
        for (name, value) in [
            ("sec-purpose", "prefetch"),
            ("Sec-Purpose", "Prefetch;Prerender"),
            ("purpose", "preview"),
            ("x-moz", "prefetch"),
        ] {
            let answer = without_effect(&Request::builder().header(name, value).finish());
            let trouble = answer.unwrap().unwrap_err();
            assert_eq!(trouble.status, StatusCode::TOO_EARLY, "{name}: {value}");
        }
        let head = without_effect(&Request::builder().method(Method::HEAD).finish());
        assert_eq!(head.unwrap().unwrap().status(), StatusCode::OK);
        assert!(without_effect(&Request::default()).is_none());
    }

    #[test]
    fn a_field_that_stands_twice_is_not_there() {
        let fields = Fields::of_query(&Uri::from_static("/?a=1&b=2&b=3&c=%20x"));
        assert_eq!(fields.one("a"), Some("1"));
        assert_eq!(fields.one("b"), None);
        assert_eq!(fields.one("c"), Some(" x"));
    }
}
