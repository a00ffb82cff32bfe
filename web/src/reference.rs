//! The description of the HTTP API, for programs and for people.

use std::sync::OnceLock;

use bytes::Bytes;
use http::{HeaderValue, header};
use poem::{Endpoint, Response, endpoint::make_sync};

use crate::{Instance, api};

/// `/openapi.json`.
pub(crate) fn document(json: String) -> impl Endpoint {
    let json = Bytes::from(json);
    make_sync(move |_| {
        Response::builder()
            .content_type("application/json")
            .header(header::CACHE_CONTROL, "public, max-age=300")
            .body(json.clone())
    })
}

/// `/docs`: the same document, to read and to try out. The page is 3 MB of script that no MCP
/// client ever asks for, so it is put together when somebody does.
pub(crate) fn page(instance: &Instance) -> impl Endpoint<Output = Response> + use<> {
    let instance = instance.clone();
    let page = OnceLock::new();
    make_sync(move |_| {
        let page = page.get_or_init(|| Bytes::from(api::service(&instance).scalar_html()));
        html(page.clone(), REFERENCE_POLICY)
    })
}

fn html(page: Bytes, policy: &'static str) -> Response {
    let mut response = Response::builder().content_type("text/html; charset=utf-8").body(page);
    response
        .headers_mut()
        .insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    response
}

/// The reference page carries its script with it; it may call this server and nobody else.
const REFERENCE_POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; \
     style-src 'unsafe-inline'; img-src 'self' data:; font-src data:; connect-src 'self'; \
     base-uri 'none'; frame-ancestors 'none'";
