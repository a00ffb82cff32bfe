//! The one place that turns a failure into a status and a body.
//!
//! Every error body is JSON: a code for programs, a sentence for people that says what to do, and
//! the request id to look for in the log. What went wrong inside never leaves by this door. The
//! only answers made elsewhere are the JSON-RPC errors of the engine and hyper's own to bytes that
//! are not HTTP (400, 431), which have no body.

use std::{io, time::Duration};

use http::{HeaderName, HeaderValue, StatusCode, header};
use poem::{
    Response,
    error::{MethodNotAllowedError, NotFoundError, ResponseError},
};
use poem_openapi::Object;
use service::counted;

use super::{bearer::Challenge, body::bounds::Bounds, request_id::RequestId};

/// How long a client should wait before it asks again, in seconds, when something that usually
/// comes back by itself is away.
pub(crate) const RETRY_AFTER_SECONDS: u32 = 5;

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// The `Host` is not ours: a page elsewhere may have pointed its own name at our address.
    #[error("foreign host")]
    ForeignHost,
    /// This header is there more than once.
    #[error("duplicated header {0}")]
    DuplicatedHeader(&'static str),
    /// A web page that is not on the list sent this.
    #[error("foreign origin")]
    ForeignOrigin,
    /// The access token is missing, malformed or not good.
    #[error("{0}")]
    Unauthorized(#[from] Challenge),
    /// The signing keys could not be read, so nothing can be said about the token.
    #[error("signing keys unavailable")]
    KeysUnavailable,
    /// More than may be sent.
    #[error("request body too large")]
    BodyTooLarge(Bounds),
    /// Not complete in time.
    #[error("request body too slow")]
    BodyTooSlow(Bounds),
    /// One sender has as many bodies, or bytes of them, under way as one may have.
    #[error("too many request bodies at once")]
    TooManyBodies {
        /// How many bodies.
        bodies: usize,
        /// How many bytes of them.
        bytes: usize,
    },
    /// All senders together have as many bytes of bodies under way as this instance holds.
    #[error("request bodies fill this instance")]
    BodyBudgetExhausted,
    /// Too often; it is worth another try after this long.
    #[error("too many requests")]
    TooManyRequests(Duration),
    /// The client went away, or its chunks were malformed.
    #[error("request body broken off")]
    BodyIncomplete(#[source] io::Error),
    /// The address of an exported file that there is not, or not any more.
    #[error("no such export")]
    ExportNotFound,
    /// The database cannot be read.
    #[error("database unavailable")]
    ExportUnavailable,
    /// No such path.
    #[error("no such path")]
    NotFound,
    /// The path exists; these are the methods it takes.
    #[error("method not allowed")]
    MethodNotAllowed(&'static str),
    /// Anything refused by a library before our own code saw it.
    #[error("refused with {0}")]
    Rejected(StatusCode),
    /// A bug. The log has the details.
    #[error("internal error")]
    Internal,
}

impl ResponseError for ApiError {
    fn status(&self) -> StatusCode {
        self.parts().0
    }
}

/// The body of every error that is not a JSON-RPC one.
#[derive(Debug, Object)]
#[oai(rename = "Error")]
pub(crate) struct ErrorBody {
    /// A code for programs. It does not change between versions.
    pub error: String,
    /// What happened and what to do, in a sentence.
    pub error_description: String,
    /// The same as the `X-Request-Id` header: the operator finds the request by it.
    pub request_id: String,
}

impl ErrorBody {
    /// A body with these three parts.
    pub(crate) fn new(code: &str, description: impl Into<String>, request: &RequestId) -> Self {
        Self {
            error: code.to_owned(),
            error_description: description.into(),
            request_id: request.to_string(),
        }
    }
}

impl ApiError {
    /// What goes over the wire.
    pub(crate) fn into_response(self, request: &RequestId) -> Response {
        let (status, code, description) = self.parts();
        let body = serde_json::json!({
            "error": code,
            "error_description": description,
            "request_id": request.to_string(),
        });
        let mut response = Response::builder()
            .status(status)
            .content_type("application/json")
            .header(header::CACHE_CONTROL, "no-store")
            .body(body.to_string());
        if let Some((name, value)) = self.header() {
            response.headers_mut().insert(name, value);
        }
        response
    }

    /// The status, the code for programs, and the sentence for people.
    pub(crate) fn parts(&self) -> (StatusCode, &'static str, String) {
        let (status, code, description) = match self {
            Self::ForeignHost => (
                StatusCode::MISDIRECTED_REQUEST,
                "misdirected_request",
                "This server does not answer under the Host of your request. Use the address \
                 from PUBLIC_URL, or set PUBLIC_URL to the address you use."
                    .to_owned(),
            ),
            Self::DuplicatedHeader(name) => (
                StatusCode::BAD_REQUEST,
                "invalid_request",
                format!("The request has more than one {name} header. Send it with one."),
            ),
            Self::ForeignOrigin => (
                StatusCode::FORBIDDEN,
                "forbidden_origin",
                "Web pages from this Origin may not call this server. Its operator can add the \
                 origin to ALLOWED_ORIGINS."
                    .to_owned(),
            ),
            Self::Unauthorized(challenge) => {
                (StatusCode::UNAUTHORIZED, challenge.code(), challenge.description().to_owned())
            }
            Self::KeysUnavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "temporarily_unavailable",
                "The access token cannot be checked at the moment. Keep it and try again in a few \
                 seconds."
                    .to_owned(),
            ),
            Self::BodyTooLarge(bounds) => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "payload_too_large",
                format!(
                    "The request body is larger than {} KiB. Send less in one request.",
                    bounds.bytes >> 10
                ),
            ),
            Self::BodyTooSlow(bounds) => (
                StatusCode::REQUEST_TIMEOUT,
                "request_timeout",
                format!(
                    "The request body arrived too slowly: it has to be complete within {}, and \
                     must not pause for long. Send it again.",
                    counted(bounds.time.as_secs(), "second", "seconds")
                ),
            ),
            Self::TooManyBodies { bodies, bytes } => (
                StatusCode::TOO_MANY_REQUESTS,
                "temporarily_unavailable",
                format!(
                    "You have too many unfinished requests: at most {bodies}, with bodies of \
                     {} MiB together. Wait for some to be answered, then try again.",
                    bytes >> 20
                ),
            ),
            Self::BodyBudgetExhausted => (
                StatusCode::SERVICE_UNAVAILABLE,
                "temporarily_unavailable",
                "This server is reading as many request bodies as it can hold. Try again in a few \
                 seconds."
                    .to_owned(),
            ),
            Self::TooManyRequests(wait) => (
                StatusCode::TOO_MANY_REQUESTS,
                "temporarily_unavailable",
                format!(
                    "There were too many requests of this kind. Wait {} and try again.",
                    counted(wait.as_secs(), "second", "seconds")
                ),
            ),
            Self::BodyIncomplete(_) => (
                StatusCode::BAD_REQUEST,
                "invalid_request",
                "The request body broke off or was not valid HTTP. Send it again.".to_owned(),
            ),
            Self::ExportNotFound => (
                StatusCode::NOT_FOUND,
                "not_found",
                "There is no file at this address, or not any more: it is kept for an hour. Ask \
                 for a new export."
                    .to_owned(),
            ),
            Self::ExportUnavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "temporarily_unavailable",
                "The file cannot be read at the moment. Try again in a few seconds.".to_owned(),
            ),
            Self::NotFound => (
                StatusCode::NOT_FOUND,
                "not_found",
                "There is nothing at this path. The MCP endpoint is /mcp, the HTTP API is \
                 described at /docs."
                    .to_owned(),
            ),
            Self::MethodNotAllowed(allowed) => (
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                format!("This path answers to {allowed} only."),
            ),
            Self::Rejected(status) => (
                *status,
                "invalid_request",
                "The request was not understood. The HTTP API is described at /docs.".to_owned(),
            ),
            Self::Internal => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "server_error",
                "Something went wrong on our side. If it happens again, give the request id to \
                 the operator of this server."
                    .to_owned(),
            ),
        };
        (status, code, description)
    }

    /// The header that belongs to it.
    pub(crate) fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        match self {
            Self::Unauthorized(challenge) => Some((header::WWW_AUTHENTICATE, challenge.header())),
            Self::KeysUnavailable
            | Self::ExportUnavailable
            | Self::TooManyBodies { .. }
            | Self::BodyBudgetExhausted => Some((header::RETRY_AFTER, RETRY_AFTER_SECONDS.into())),
            Self::TooManyRequests(wait) => Some((header::RETRY_AFTER, wait.as_secs().into())),
            Self::MethodNotAllowed(allowed) => {
                Some((header::ALLOW, HeaderValue::from_static(allowed)))
            }
            Self::BodyTooLarge(_)
            | Self::BodyTooSlow(_)
            | Self::BodyIncomplete(_)
            | Self::ForeignHost
            | Self::DuplicatedHeader(_)
            | Self::ForeignOrigin
            | Self::NotFound
            | Self::ExportNotFound
            | Self::Rejected(_)
            | Self::Internal => None,
        }
    }
}

/// Reads an error of poem, of poem-openapi or of our own. `allowed` names the methods of the route,
/// which poem does not tell.
pub(crate) fn from_poem(error: poem::Error, allowed: &'static str) -> ApiError {
    let error = match error.downcast::<ApiError>() {
        Ok(error) => return error,
        Err(error) => error,
    };
    if error.is::<NotFoundError>() {
        return ApiError::NotFound;
    }
    if error.is::<MethodNotAllowedError>() {
        return ApiError::MethodNotAllowed(allowed);
    }
    if error.status().is_client_error() {
        return ApiError::Rejected(error.status());
    }
    tracing::error!(%error, "A request failed: {error}");
    ApiError::Internal
}
