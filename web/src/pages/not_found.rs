//! The 404 page.

use http::{Method, StatusCode, header};
use poem::{Endpoint, IntoResponse, Request, Response, error::NotFoundError};

use super::{error_page, frame::Frame, headers::protect};
use crate::instance::Instance;

/// Responds to browsers with a page if no route has the path.
pub(crate) struct NotFoundPage<E> {
    inner: E,
    https: bool,
}

impl<E> NotFoundPage<E> {
    /// Wraps all routes of one instance.
    pub(crate) fn new(instance: &Instance, inner: E) -> Self {
        let https = instance.app.config().public_url.as_str().starts_with("https://");
        Self { inner, https }
    }

    fn page(&self, frame: &Frame) -> Response {
        let error = error_page::new(
            StatusCode::NOT_FOUND,
            "There is nothing here",
            "The address is not one of this server.",
            "Check it for a typing error, or begin at the start page.",
        );
        let mut response = error_page::show(error.with_link("Start page", "/"), frame);
        protect(&mut response, self.https, false);
        response
    }
}

impl<E: Endpoint> Endpoint for NotFoundPage<E> {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        if !wants_html(&request) {
            return self.inner.call(request).await.map(IntoResponse::into_response);
        }
        let frame = Frame::of(&request);
        match self.inner.call(request).await {
            Ok(response) => Ok(response.into_response()),
            Err(error) if error.is::<NotFoundError>() => Ok(self.page(&frame)),
            Err(error) => Err(error),
        }
    }
}

/// Whether a browser asks for a page: browsers accept `text/html`, programs do not.
fn wants_html(request: &Request) -> bool {
    let accept = request.headers().get_all(header::ACCEPT);
    let mut ranges =
        accept.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let html = |range: &str| {
        range.split(';').next().is_some_and(|media_type| media_type.trim() == "text/html")
    };
    matches!(*request.method(), Method::GET | Method::HEAD) && ranges.any(html)
}
