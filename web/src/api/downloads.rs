//! `/exports/…`: files for download ([`app::downloads`]).
//!
//! The URL is the only credential, so it must not leak: responses are not cached, the file runs in
//! a sandbox and sends no referrer, and the path is not logged.

use std::io;

use app::{
    App,
    downloads::{Download, DownloadError},
};
use futures_util::stream;
use http::{HeaderValue, Method, StatusCode, header};
use oauth::access::Authority;
use poem::{Body, Endpoint, Request, Response};

use crate::{http::error::ApiError, instance::Instance};

/// The path of a file.
pub(crate) const PATH: &str = "/exports/:token";

/// The endpoint.
pub(crate) struct Downloads {
    app: App,
}

impl Downloads {
    /// The endpoint of one instance.
    pub(crate) fn new(instance: &Instance) -> Self {
        Self { app: instance.app.clone() }
    }
}

impl Endpoint for Downloads {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let has_body = match *request.method() {
            Method::GET => true,
            Method::HEAD => false,
            _ => return Err(ApiError::method_not_allowed(METHODS).into()),
        };
        let token = request.raw_path_param("token").unwrap_or_default();
        let file = self.app.downloads().by_token(token).await.map_err(api_error)?;
        let authority = file.authority().clone();
        Ok(respond(&self.app, file, authority, has_body))
    }
}

/// The methods of this path.
pub(crate) const METHODS: &str = "GET, HEAD";

const HEADERS: [(header::HeaderName, &str); 5] = [
    (header::CACHE_CONTROL, "private, no-store"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'; sandbox"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Responds with a file for as long as this access is valid, or only with its headers.
pub(crate) fn respond(app: &App, file: Download, authority: Authority, has_body: bool) -> Response {
    let mut response = Response::builder()
        .content_type(&file.media_type)
        .header(header::CONTENT_LENGTH, file.bytes)
        .finish();
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // Downloads have file names of letters, digits, dots and dashes only.
    let attachment = format!("attachment; filename=\"{}\"", file.file_name);
    if let Ok(attachment) = HeaderValue::try_from(attachment) {
        headers.insert(header::CONTENT_DISPOSITION, attachment);
    }
    if has_body {
        response.set_body(body(app.clone(), file, authority));
    }
    response
}

/// Streams the file in chunks, as fast as the client reads. If a chunk is missing, or the access is
/// revoked, the connection is aborted, so that the client does
/// not mistake a part of the file for the whole.
fn body(app: App, file: Download, authority: Authority) -> Body {
    let chunks =
        stream::try_unfold((app, file, authority, 0), async |(app, file, authority, number)| {
            if app.oauth().revoked().is_denied(&authority) {
                tracing::info!("Aborted a download: the access was revoked");
                return Err(io::Error::other(DownloadError::NotFound));
            }
            match app.downloads().chunk(&file, number).await {
                Ok(None) => Ok(None),
                Ok(Some(bytes)) => Ok(Some((bytes, (app, file, authority, number + 1)))),
                Err(error) => {
                    tracing::warn!(
                        dependency = error.dependency(), error = ?error,
                        "Aborted a download: could not read the next chunk"
                    );
                    Err(io::Error::other(error))
                }
            }
        });
    Body::from_bytes_stream(chunks)
}

fn api_error(error: DownloadError) -> ApiError {
    match error {
        DownloadError::NotFound => ApiError::new(
            StatusCode::NOT_FOUND,
            "not_found",
            "There is no file at this address, or it has expired: files are kept for an hour. Ask for \
             a new export.",
        ),
        error => {
            tracing::warn!(
                dependency = error.dependency(), error = ?error,
                "Could not read a file for download"
            );
            ApiError::unavailable(
                "The file cannot be read at the moment. Try again in a few seconds.",
            )
        }
    }
}
