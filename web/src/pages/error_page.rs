//! Error pages.

use std::{borrow::Cow, time::Duration};

use askama::Template;
use http::{HeaderName, HeaderValue, StatusCode, header};
use poem::{Response, error::ResponseError};

use super::frame::Frame;
use crate::http::error::{ApiError, RETRY_AFTER_SECONDS};

/// Information for a third party.
#[derive(Debug)]
pub(crate) struct Note {
    /// The third party.
    pub(crate) to: &'static str,
    pub(crate) text: String,
}

/// An error page: what happened, and what to do next.
#[derive(Debug, thiserror::Error)]
#[error("{title}")]
pub(crate) struct ErrorPage {
    pub(crate) status: StatusCode,
    pub(crate) title: Cow<'static, str>,
    /// What happened.
    pub(crate) what: Cow<'static, str>,
    /// What to do next.
    pub(crate) next: Cow<'static, str>,
    /// The text and the target of a link.
    pub(crate) link: Option<Box<(String, String)>>,
    /// Information for the developer of the app or for the operator.
    pub(crate) note: Option<Box<Note>>,
    header: Option<Box<(HeaderName, HeaderValue)>>,
}

impl ErrorPage {
    /// A page without link, note and header.
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

    /// 400.
    pub(crate) fn bad_request(
        title: &'static str,
        what: impl Into<Cow<'static, str>>,
        next: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::new(StatusCode::BAD_REQUEST, title, what, next)
    }

    /// 503: a dependency is unavailable.
    pub(crate) fn unavailable() -> Self {
        let page = Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "Not possible at the moment",
            "A part of this server does not answer. Nothing has been changed.",
            "Wait a few seconds and load this page again.",
        );
        page.retry_after(RETRY_AFTER_SECONDS.into())
    }

    /// 425: the browser prefetched the page. A client error, because browsers show a prefetched
    /// page to the user only if its status was a success.
    pub(super) fn too_early() -> Self {
        Self::new(
            StatusCode::TOO_EARLY,
            "Not opened yet",
            "Your browser asked for this page before you opened it. Nothing has been started.",
            "Open the link again.",
        )
    }

    /// 403: a page of another site embedded this page or loaded it from a script.
    pub(crate) fn embedded() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "This page cannot be part of another one",
            "A page of another site loaded it without opening it. Nothing has been started.",
            "Open the link in a tab of its own.",
        )
    }

    /// Whether the request caused the error, not the server.
    pub(crate) fn is_client_error(&self) -> bool {
        self.status.is_client_error()
    }

    /// 429: the rate limit is exceeded until `wait` has passed.
    pub(crate) fn too_many(what: &'static str, wait: Duration) -> Self {
        let next = format!("Wait {} seconds and load this page again.", wait.as_secs().max(1));
        let page = Self::new(StatusCode::TOO_MANY_REQUESTS, "Too many requests", what, next);
        page.retry_after(wait.as_secs().max(1))
    }

    /// 500: an internal error; the log has the details.
    pub(crate) fn internal() -> Self {
        Self::from(ApiError::Internal)
    }

    /// 403: the form does not come from a page of this server in this browser (CSRF).
    pub(crate) fn forged() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "This form cannot be used",
            "It did not come from a page of this server in this browser. Nothing has been changed.",
            "Go back, load the page again, and use the form on it.",
        )
    }

    /// Adds a link.
    pub(crate) fn with_link(mut self, words: impl Into<String>, href: impl Into<String>) -> Self {
        self.link = Some(Box::new((words.into(), href.into())));
        self
    }

    /// Adds details for the developer of the app.
    pub(crate) fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.note = Some(Box::new(Note { to: "the developer of the app", text: detail.into() }));
        self
    }

    /// Adds what the operator can do.
    pub(crate) fn with_operator_hint(mut self, hint: impl Into<String>) -> Self {
        self.note = Some(Box::new(Note { to: "the operator of this server", text: hint.into() }));
        self
    }

    /// Renders the page, without the headers that all pages have.
    pub(super) fn show(self, frame: &Frame) -> Response {
        let page = ErrorTemplate { frame, error: &self };
        let mut response = frame.show(self.status, &page);
        if let Some((name, value)) = self.header.map(|header| *header) {
            response.headers_mut().insert(name, value);
        }
        response
    }

    fn retry_after(mut self, seconds: u64) -> Self {
        self.header = Some(Box::new((header::RETRY_AFTER, seconds.into())));
        self
    }
}

impl ResponseError for ErrorPage {
    fn status(&self) -> StatusCode {
        self.status
    }
}

impl From<ApiError> for ErrorPage {
    fn from(error: ApiError) -> Self {
        let (status, _, description) = error.parts();
        let (title, next) = match error {
            ApiError::TooManyRequests(_) => (
                "Too many requests",
                "Load this page again after that. A sign-in that you have begun goes on.",
            ),
            ApiError::ForeignHost => {
                ("Not the address of this server", "Use the address in PUBLIC_URL.")
            }
            ApiError::MethodNotAllowed(_) => {
                ("Not possible this way", "Start again from the beginning.")
            }
            ApiError::Internal => ("Something went wrong", "Try again in a moment."),
            _ => ("This request cannot be used", "Go back and try again."),
        };
        let header = error.header().map(Box::new);
        Self { header, ..Self::new(status, title, description, next) }
    }
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorTemplate<'a> {
    frame: &'a Frame,
    error: &'a ErrorPage,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_page_has_a_nonce_of_its_own() {
        let mut request = poem::Request::default();
        request.set_data(crate::http::observe::NO_BRAND);
        let (one, other) = (Frame::of(&request), Frame::of(&request));
        assert_ne!(one.nonce, other.nonce);
        let error = ErrorPage::forged();
        let page = ErrorTemplate { frame: &one, error: &error };
        let response = one.show(StatusCode::FORBIDDEN, &page);
        let policy = response.header("content-security-policy").unwrap();
        assert!(policy.contains(&format!("style-src 'nonce-{}'", one.nonce)));
    }
}
