//! Error pages: their texts, and the renderer of an [`ApiError`] as HTML.

use std::{borrow::Cow, time::Duration};

use askama::Template;
use http::StatusCode;
use poem::Response;

use super::frame::Frame;
use crate::http::error::{ApiError, ErrorHeader, Note, PageText, TEMPORARILY_UNAVAILABLE};

/// An error of a page: what happened, and what to do next.
pub(crate) fn new(
    status: StatusCode,
    title: &'static str,
    what: impl Into<Cow<'static, str>>,
    advice: impl Into<Cow<'static, str>>,
) -> ApiError {
    // Pages do not show the code.
    let code = match status {
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => TEMPORARILY_UNAVAILABLE,
        status if status.is_client_error() => "invalid_request",
        _ => "server_error",
    };
    ApiError::new(status, code, what).on_page(title, advice)
}

/// 400.
pub(crate) fn bad_request(
    title: &'static str,
    what: impl Into<Cow<'static, str>>,
    advice: impl Into<Cow<'static, str>>,
) -> ApiError {
    new(StatusCode::BAD_REQUEST, title, what, advice)
}

/// 503: a dependency is unavailable.
pub(crate) fn unavailable() -> ApiError {
    new(
        StatusCode::SERVICE_UNAVAILABLE,
        "Not possible at the moment",
        "A part of this server does not respond. Nothing has been changed.",
        "Wait a few seconds and load this page again.",
    )
    .retry_soon()
}

/// 503: an identity provider is unavailable, or refuses this server. `label` is its name.
pub(crate) fn provider_unavailable(label: &str) -> ApiError {
    new(
        StatusCode::SERVICE_UNAVAILABLE,
        "This sign-in is not possible at the moment",
        format!("{label} does not answer, or does not accept this server. Nothing has been changed."),
        "Go back and try again in a minute, or sign in another way if there is one. If this does not \
         help, tell the operator of this server.",
    )
    .retry_soon()
}

/// 425: the browser prefetched the page. A client error, because browsers show a prefetched page to
/// the user only if its status was a success.
pub(super) fn too_early() -> ApiError {
    new(
        StatusCode::TOO_EARLY,
        "Not opened yet",
        "Your browser asked for this page before you opened it. Nothing has been started.",
        "Open the link again.",
    )
}

/// 403: a page of another site embedded this page or loaded it from a script.
pub(crate) fn embedded() -> ApiError {
    new(
        StatusCode::FORBIDDEN,
        "This page cannot be part of another one",
        "A page of another site loaded it without opening it. Nothing has been started.",
        "Open the link in a tab of its own.",
    )
}

/// 429: the rate limit is exceeded until `wait` has passed.
pub(crate) fn too_many(what: &'static str, wait: Duration) -> ApiError {
    let seconds = wait.as_secs().max(1);
    let advice = format!("Wait {seconds} seconds and load this page again.");
    new(StatusCode::TOO_MANY_REQUESTS, "Too many requests", what, advice)
        .with_header(ErrorHeader::RetryAfter(seconds))
}

/// 403: the form does not come from a page of this server in this browser (CSRF).
pub(crate) fn forged() -> ApiError {
    new(
        StatusCode::FORBIDDEN,
        "This form cannot be used",
        "It did not come from a page of this server in this browser. Nothing has been changed.",
        "Go back, load the page again, and use the form on it.",
    )
}

impl ApiError {
    /// Adds a link to the page.
    pub(crate) fn with_link(mut self, words: impl Into<String>, href: impl Into<String>) -> Self {
        self.page.get_or_insert_default().link = Some((words.into(), href.into()));
        self
    }

    /// Adds details for the developer of the app.
    pub(crate) fn with_detail(self, detail: impl Into<String>) -> Self {
        self.with_note("the developer of the app", detail.into())
    }

    /// Adds what the operator can do.
    pub(crate) fn with_operator_hint(self, hint: impl Into<String>) -> Self {
        self.with_note("the operator of this server", hint.into())
    }

    fn with_note(mut self, addressee: &'static str, text: String) -> Self {
        self.page.get_or_insert_default().note = Some(Note { addressee, text });
        self
    }
}

/// Renders the page, without the headers that all pages have.
pub(super) fn show(error: ApiError, frame: &Frame) -> Response {
    let text = error.page.unwrap_or_default();
    let page = ErrorTemplate { frame, what: &error.description, text: &text };
    let mut response = frame.show(error.status, &page);
    if let Some(header) = error.header {
        header.insert_into(response.headers_mut());
    }
    response
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorTemplate<'a> {
    frame: &'a Frame,
    what: &'a str,
    text: &'a PageText,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_page_has_its_own_nonce() {
        let mut request = poem::Request::default();
        request.set_data(crate::http::observe::NO_BRAND);
        let (one, other) = (Frame::of(&request), Frame::of(&request));
        assert_ne!(one.nonce, other.nonce);
        let response = show(forged(), &one);
        let policy = response.header("content-security-policy").unwrap();
        assert!(policy.contains(&format!("style-src 'nonce-{}'", one.nonce)));
    }
}
