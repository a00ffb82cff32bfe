//! What every page has: a template, which escapes everything, with one style sheet that a nonce admits.
//! No page has a script, an image or anything from elsewhere.

use askama::Template;
use http::{HeaderValue, StatusCode, header};
use poem::{Request, Response};

use crate::http::request_id::RequestId;

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
