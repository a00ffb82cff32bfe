//! The reference of the HTTP API, for programs and for people.

use std::{
    io::{self, Write as _},
    sync::OnceLock,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use oauth::limits;
use poem::{Endpoint, Request, Response, endpoint::make_sync};
use sha2::{Digest as _, Sha256};

use crate::{
    api,
    http::{error::ApiError, rate_limit},
    instance::Instance,
};

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

/// `/docs`: the reference as a page. It consists of 3 MB of script that no MCP client ever
/// requests, so it is built on the first request.
pub(crate) struct Docs {
    instance: Instance,
    page: OnceLock<Page>,
}

impl Docs {
    /// The page of one instance.
    pub(crate) fn new(instance: &Instance) -> Self {
        Self { instance: instance.clone(), page: OnceLock::new() }
    }

    fn page(&self) -> Result<&Page, ApiError> {
        if let Some(page) = self.page.get() {
            return Ok(page);
        }
        let html = api::app(&self.instance).scalar_html();
        let page = Page::new(html.replacen("<body>", STORAGE, 1)).map_err(|error| {
            tracing::error!(%error, "Could not compress the reference page");
            ApiError::internal()
        })?;
        Ok(self.page.get_or_init(|| page))
    }
}

impl Endpoint for Docs {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let app = &self.instance.app;
        let network = rate_limit::network_and_site(app, &request);
        rate_limit::take(app, &limits::DOCS, &network).await?;
        Ok(self.page()?.response(request.headers()))
    }
}

/// Provides the `localStorage` and `sessionStorage` that the script of the page expects and that a
/// sandboxed page lacks. Its settings are lost when the page is closed.
const STORAGE: &str = "<body><script>for (const name of ['localStorage', 'sessionStorage']) {
  const kept = new Map();
  Object.defineProperty(window, name, { value: {
    getItem: (key) => kept.get(String(key)) ?? null,
    setItem: (key, value) => { kept.set(String(key), String(value)); },
    removeItem: (key) => { kept.delete(String(key)); },
    clear: () => kept.clear(),
    key: (index) => [...kept.keys()][index] ?? null,
    get length() { return kept.size; },
  } });
}</script>";

/// The page as it is sent.
struct Page {
    html: Bytes,
    gzip: Bytes,
    tag: HeaderValue,
}

impl Page {
    fn new(html: String) -> io::Result<Self> {
        let hash = URL_SAFE_NO_PAD.encode(Sha256::digest(&html));
        // Weak, because the compressed page consists of other bytes.
        let tag = HeaderValue::try_from(format!("W/\"{hash}\"")).map_err(io::Error::other)?;
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(html.as_bytes())?;
        Ok(Self { gzip: encoder.finish()?.into(), html: html.into(), tag })
    }

    fn response(&self, request: &HeaderMap) -> Response {
        let mut response = Response::default();
        if lists(request, &header::IF_NONE_MATCH, |tag| tag == "*" || self.tag == *tag) {
            response.set_status(StatusCode::NOT_MODIFIED);
        } else if lists(request, &header::ACCEPT_ENCODING, accepts_gzip) {
            let gzip = HeaderValue::from_static("gzip");
            response.headers_mut().insert(header::CONTENT_ENCODING, gzip);
            response.set_body(self.gzip.clone());
        } else {
            response.set_body(self.html.clone());
        }
        let headers = response.headers_mut();
        headers.insert(header::ETAG, self.tag.clone());
        for (name, value) in HEADERS {
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

/// Whether an element of a list header matches.
fn lists(headers: &HeaderMap, name: &HeaderName, matches: impl Fn(&str) -> bool) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|element| matches(element.trim()))
}

/// Whether an element of `Accept-Encoding` allows gzip (RFC 9110 section 12.5.3).
fn accepts_gzip(element: &str) -> bool {
    let (coding, parameter) = element.split_once(';').unwrap_or((element, ""));
    let is_refused = parameter
        .trim()
        .strip_prefix("q=")
        .is_some_and(|weight| weight.parse::<f32>().is_ok_and(|weight| weight <= 0.0));
    coding.trim().eq_ignore_ascii_case("gzip") && !is_refused
}

/// The script is part of the page. `sandbox` gives the page an opaque origin: it has no cookies,
/// cannot read or send anything with the authority of this server's pages, and `default-src 'none'`
/// blocks all connections.
const HEADERS: [(HeaderName, &str); 4] = [
    (header::CONTENT_TYPE, "text/html; charset=utf-8"),
    (header::CACHE_CONTROL, "public, max-age=3600"),
    (header::VARY, "accept-encoding"),
    (
        header::CONTENT_SECURITY_POLICY,
        "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; \
         style-src 'unsafe-inline'; img-src data:; font-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_sent_only_if_accepted() {
        for (element, accepted) in [
            ("gzip", true),
            ("GZIP;q=0.5", true),
            ("gzip; q=0", false),
            ("gzip;q=0.000", false),
            ("br", false),
            ("", false),
        ] {
            assert_eq!(accepts_gzip(element), accepted, "{element}");
        }
    }
}
