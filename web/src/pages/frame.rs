//! The frame of every page. Templates escape everything; the only style sheet is allowed by a
//! nonce; pages have no scripts, images or external resources.

use app::Brand;
use askama::Template;
use http::{HeaderValue, StatusCode, header};
use poem::{Request, Response};

use crate::http::request_id::RequestId;

/// The data that every template needs.
pub(crate) struct Frame {
    /// The CSP nonce of the style sheet, different for each response.
    pub nonce: String,
    /// The request id, which error pages show.
    pub request_id: String,
    /// The names of the product.
    pub brand: Brand,
}

impl Frame {
    /// The frame of the response to `request`.
    pub(crate) fn of(request: &Request) -> Self {
        let request_id = request.data::<RequestId>().map_or_else(String::new, ToString::to_string);
        let brand = *request.data::<Brand>().expect("the outermost layer sets the brand");
        Self { nonce: uuid::Uuid::new_v4().simple().to_string(), request_id, brand }
    }

    /// Renders a page.
    pub(crate) fn show(&self, status: StatusCode, page: &impl Template) -> Response {
        let html = match page.render() {
            Ok(html) => html,
            Err(error) => {
                tracing::error!(%error, "Could not render a page");
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
