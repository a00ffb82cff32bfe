//! `/exports/…`: downloads of exported files ([`app::exports`]).
//!
//! The URL is the only credential, so it must not leak: responses are not cached, the file runs in
//! a sandbox and sends no referrer, and the path is not logged.

use std::io;

use app::{
    App,
    exports::{self, Export, ExportError},
};
use futures_util::stream;
use http::{HeaderValue, Method, header};
use poem::{Body, Endpoint, Request, Response};

use crate::{http::error::ApiError, instance::Instance};

/// The path of a file.
pub(crate) const PATH: &str = "/exports/:token";

/// The endpoint.
pub(crate) struct Exports {
    app: App,
}

impl Exports {
    /// The endpoint of one instance.
    pub(crate) fn new(instance: &Instance) -> Self {
        Self { app: instance.app.clone() }
    }
}

impl Endpoint for Exports {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let has_body = match *request.method() {
            Method::GET => true,
            Method::HEAD => false,
            _ => return Err(ApiError::MethodNotAllowed(METHODS).into()),
        };
        let token = request.raw_path_param("token").unwrap_or_default();
        let export = exports::by_token(&self.app, token).await.map_err(api_error)?;
        let body = if has_body { body(self.app.clone(), export.clone()) } else { Body::empty() };
        let mut response = Response::builder()
            .content_type(&export.media_type)
            .header(header::CONTENT_LENGTH, export.bytes)
            .body(body);
        let headers = response.headers_mut();
        for (name, value) in HEADERS {
            headers.insert(name, HeaderValue::from_static(value));
        }
        // Our own file names: letters, digits, dots and dashes.
        let attachment = format!("attachment; filename=\"{}\"", export.file_name);
        if let Ok(attachment) = HeaderValue::try_from(attachment) {
            headers.insert(header::CONTENT_DISPOSITION, attachment);
        }
        Ok(response)
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

/// Streams the file in chunks, as fast as the client reads. If a chunk is missing, or the access
/// with which the export was made is revoked, the connection is aborted, so that the client does
/// not mistake a part of the file for the whole.
fn body(app: App, export: Export) -> Body {
    let pieces = stream::try_unfold((app, export, 0), async |(app, export, number)| {
        if exports::is_denied(&app, &export) {
            tracing::info!("Aborted a download: the access that created the export was revoked");
            return Err(io::Error::other(ExportError::NotFound));
        }
        match exports::chunk(&app, &export, number).await {
            Ok(None) => Ok(None),
            Ok(Some(bytes)) => Ok(Some((bytes, (app, export, number + 1)))),
            Err(error) => {
                tracing::warn!(
                    dependency = error.dependency(), error = ?error,
                    "Aborted a download: could not read the next chunk"
                );
                Err(io::Error::other(error))
            }
        }
    });
    Body::from_bytes_stream(pieces)
}

fn api_error(error: ExportError) -> ApiError {
    match error {
        ExportError::NotFound => ApiError::ExportNotFound,
        error => {
            tracing::warn!(
                dependency = error.dependency(), error = ?error,
                "Could not read an export"
            );
            ApiError::ExportUnavailable
        }
    }
}
