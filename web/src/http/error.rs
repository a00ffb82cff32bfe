//! Errors of the HTTP endpoints, and the one place that turns them into a status and a body.
//!
//! Every error body is JSON: a code for programs, a description that says what to do, and the
//! request id. Internal causes are logged, never sent. Exceptions: JSON-RPC errors are made by the
//! engine, and hyper answers bytes that are not HTTP (400, 431) without a body.

use std::{borrow::Cow, io, time::Duration};

use http::{HeaderName, HeaderValue, StatusCode, header};
use mcp::http::{Challenge, ForeignRequest};
use platform::counted;
use poem::{
    Response,
    error::{MethodNotAllowedError, NotFoundError, ResponseError},
};
use poem_openapi::Object;

use super::{body::bounds::Bounds, request_id::RequestId};

/// The `Retry-After` of errors that usually pass without intervention, such as an unavailable
/// database, in seconds.
pub(crate) const RETRY_AFTER_SECONDS: u32 = 5;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// The `Host` is not an address of this server: possibly DNS rebinding.
    #[error("foreign host")]
    ForeignHost,
    /// The request has this header more than once.
    #[error("duplicated header {0}")]
    DuplicatedHeader(&'static str),
    /// The `Origin` is not allowed.
    #[error("foreign origin")]
    ForeignOrigin,
    /// The access token is missing, malformed or invalid.
    #[error("{0}")]
    Unauthorized(#[from] Challenge),
    /// The signing keys could not be read, so the token cannot be verified.
    #[error("signing keys unavailable")]
    KeysUnavailable,
    /// The body is larger than the limit.
    #[error("request body too large")]
    BodyTooLarge(Bounds),
    /// The body was not complete in time.
    #[error("request body too slow")]
    BodyTooSlow(Bounds),
    /// The sender has the maximum of unfinished bodies, or of bytes in them.
    #[error("too many request bodies at once")]
    TooManyBodies {
        /// The maximum number of bodies.
        bodies: usize,
        /// The maximum number of bytes.
        bytes: usize,
    },
    /// The bodies of all senders together fill the budget of this instance.
    #[error("request bodies fill this instance")]
    BodyBudgetExhausted,
    /// The rate limit is exceeded until this time has passed.
    #[error("too many requests")]
    TooManyRequests(Duration),
    /// The client disconnected, or its chunked encoding was malformed.
    #[error("request body broken off")]
    BodyIncomplete(#[source] io::Error),
    /// No exported file has this address, or it has expired.
    #[error("no such export")]
    DownloadNotFound,
    /// The exported file cannot be read because the database is unavailable.
    #[error("database unavailable")]
    DownloadUnavailable,
    /// No route has this path.
    #[error("no such path")]
    NotFound,
    /// The path does not accept the method. The value lists those that it accepts.
    #[error("method not allowed")]
    MethodNotAllowed(&'static str),
    /// Rejected by poem with this status before our code ran.
    #[error("refused with {0}")]
    Rejected(StatusCode),
    /// An internal error; the log has the details.
    #[error("internal error")]
    Internal,
}

impl From<ForeignRequest> for ApiError {
    fn from(foreign: ForeignRequest) -> Self {
        match foreign {
            ForeignRequest::Host => Self::ForeignHost,
            ForeignRequest::DuplicatedHost => Self::DuplicatedHeader("Host"),
            ForeignRequest::Origin => Self::ForeignOrigin,
        }
    }
}

impl ResponseError for ApiError {
    fn status(&self) -> StatusCode {
        self.status_and_code().0
    }
}

/// The body of all errors except JSON-RPC errors.
#[derive(Debug, Object)]
#[oai(rename = "Error")]
pub(crate) struct ErrorBody {
    /// A code for programs. It does not change between versions.
    pub error: String,
    /// What happened and what to do, for people.
    pub error_description: String,
    /// The value of the `X-Request-Id` header, by which the operator finds the request in the log.
    pub request_id: String,
}

impl ErrorBody {
    /// A body with these contents.
    pub(crate) fn new(code: &str, description: impl Into<String>, request: &RequestId) -> Self {
        Self {
            error: code.to_owned(),
            error_description: description.into(),
            request_id: request.to_string(),
        }
    }
}

impl ApiError {
    /// The response.
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

    /// The status, the code and the description.
    pub(crate) fn parts(&self) -> (StatusCode, &'static str, Cow<'static, str>) {
        let (status, code) = self.status_and_code();
        (status, code, self.description())
    }

    fn status_and_code(&self) -> (StatusCode, &'static str) {
        match self {
            Self::ForeignHost => (StatusCode::MISDIRECTED_REQUEST, "misdirected_request"),
            Self::DuplicatedHeader(_) | Self::BodyIncomplete(_) => {
                (StatusCode::BAD_REQUEST, "invalid_request")
            }
            Self::ForeignOrigin => (StatusCode::FORBIDDEN, "forbidden_origin"),
            Self::Unauthorized(challenge) => (StatusCode::UNAUTHORIZED, challenge.code()),
            Self::BodyTooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large"),
            Self::BodyTooSlow(_) => (StatusCode::REQUEST_TIMEOUT, "request_timeout"),
            Self::TooManyBodies { .. } | Self::TooManyRequests(_) => {
                (StatusCode::TOO_MANY_REQUESTS, "temporarily_unavailable")
            }
            Self::KeysUnavailable | Self::BodyBudgetExhausted | Self::DownloadUnavailable => {
                (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable")
            }
            Self::NotFound | Self::DownloadNotFound => (StatusCode::NOT_FOUND, "not_found"),
            Self::MethodNotAllowed(_) => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::Rejected(status) => (*status, "invalid_request"),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "server_error"),
        }
    }

    fn description(&self) -> Cow<'static, str> {
        let text = match self {
            Self::ForeignHost => {
                "This server does not answer under the Host of your request. Use the address from \
                 PUBLIC_URL, or set PUBLIC_URL to the address you use."
            }
            Self::DuplicatedHeader(name) => {
                return format!("The request has more than one {name} header. Send it with one.")
                    .into();
            }
            Self::ForeignOrigin => {
                "Web pages from this Origin may not call this server. Its operator can add the \
                 origin to ALLOWED_ORIGINS."
            }
            Self::Unauthorized(challenge) => challenge.description(),
            Self::KeysUnavailable => {
                "The access token cannot be checked at the moment. Keep it and try again in a few \
                 seconds."
            }
            Self::BodyTooLarge(bounds) => {
                let limit = bounds.bytes >> 10;
                return format!(
                    "The request body is larger than {limit} KiB. Send less in one request."
                )
                .into();
            }
            Self::BodyTooSlow(bounds) => {
                let limit = counted(bounds.time.as_secs(), "second", "seconds");
                return format!(
                    "The request body arrived too slowly: it has to be complete within {limit}, \
                     and must not pause for long. Send it again."
                )
                .into();
            }
            Self::TooManyBodies { bodies, bytes } => {
                let mebibytes = bytes >> 20;
                return format!(
                    "You have too many unfinished requests: at most {bodies}, with bodies of \
                     {mebibytes} MiB together. Wait for some to be answered, then try again."
                )
                .into();
            }
            Self::BodyBudgetExhausted => {
                "This server is reading as many request bodies as it can hold. Try again in a few \
                 seconds."
            }
            Self::TooManyRequests(wait) => {
                let wait = counted(wait.as_secs(), "second", "seconds");
                return format!(
                    "There were too many requests of this kind. Wait {wait} and try again."
                )
                .into();
            }
            Self::BodyIncomplete(_) => {
                "The request body broke off or was not valid HTTP. Send it again."
            }
            Self::DownloadNotFound => {
                "There is no file at this address, or not any more: it is kept for an hour. Ask \
                 for a new export."
            }
            Self::DownloadUnavailable => {
                "The file cannot be read at the moment. Try again in a few seconds."
            }
            Self::NotFound => {
                "There is nothing at this path. The MCP endpoint is /mcp, the HTTP API is \
                 described at /docs."
            }
            Self::MethodNotAllowed(allowed) => {
                return format!("This path accepts {allowed} only.").into();
            }
            Self::Rejected(_) => {
                "The request was not understood. The HTTP API is described at /docs."
            }
            Self::Internal => {
                "Something went wrong on this server. If it happens again, give the request id to \
                 the operator of this server."
            }
        };
        text.into()
    }

    /// The header that the status requires or suggests.
    pub(crate) fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        match self {
            Self::Unauthorized(challenge) => Some((header::WWW_AUTHENTICATE, challenge.header())),
            Self::KeysUnavailable
            | Self::DownloadUnavailable
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
            | Self::DownloadNotFound
            | Self::Rejected(_)
            | Self::Internal => None,
        }
    }
}

/// Converts an error of poem, of poem-openapi or of this crate. `allowed`: the methods of the
/// route, which poem does not report.
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
    tracing::error!(%error, "Request failed with an internal error");
    ApiError::Internal
}
