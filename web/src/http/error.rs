//! Errors of the HTTP endpoints.
//!
//! An [`ApiError`] is data. Three renderers convert it into a response: [`ApiError::into_response`]
//! (JSON), `oauth::error` (the JSON of OAuth endpoints, as `/openapi.json` describes it) and
//! `pages::error_page` (HTML). Every JSON body has a code for programs, a description that says
//! what to do, and the request id. Internal causes are logged, never sent. Exceptions: the engine
//! creates JSON-RPC errors, and hyper responds to bytes that are not HTTP (400, 431) without a body.

use std::{borrow::Cow, time::Duration};

use http::{HeaderMap, HeaderValue, StatusCode, header};
use mcp::http::ForeignRequest;
use platform::counted;
use poem::{
    Response,
    error::{MethodNotAllowedError, NotFoundError, ResponseError},
};
use poem_openapi::Object;

use super::{dpop, request_id::RequestId};

/// The `Retry-After` of errors that usually pass without intervention, such as an unavailable
/// database, in seconds.
pub(crate) const RETRY_AFTER_SECONDS: u32 = 5;

/// The code of errors after which the same request may succeed later.
pub(crate) const TEMPORARILY_UNAVAILABLE: &str = "temporarily_unavailable";

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
#[error("{status}: {description}")]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    /// A code for programs. It does not change between versions.
    pub(crate) code: &'static str,
    /// What happened and what to do, for people.
    pub(crate) description: Cow<'static, str>,
    /// The header that the status requires or suggests.
    pub(crate) header: Option<ErrorHeader>,
    /// What a page says in addition. `None`: the texts of [`PageText::default`].
    pub(crate) page: Option<Box<PageText>>,
}

/// A header of an error response.
#[derive(Debug)]
pub(crate) enum ErrorHeader {
    /// `Retry-After`, in seconds.
    RetryAfter(u64),
    /// `WWW-Authenticate`.
    Authenticate(HeaderValue),
    /// `WWW-Authenticate`, once for each scheme, and `DPoP-Nonce`.
    Challenges(Vec<HeaderValue>, Option<HeaderValue>),
    /// `DPoP-Nonce`.
    DpopNonce(HeaderValue),
    /// `Allow`: the methods of the path.
    Allow(&'static str),
}

/// What an HTML page says in addition to the description.
#[derive(Debug)]
pub(crate) struct PageText {
    pub(crate) title: &'static str,
    /// What to do next.
    pub(crate) advice: Cow<'static, str>,
    /// The text and the target of a link.
    pub(crate) link: Option<(String, String)>,
    /// The information below the advice, if any.
    pub(crate) note: Option<Note>,
}

/// Information for the developer of the app or for the operator.
#[derive(Debug)]
pub(crate) struct Note {
    pub(crate) addressee: &'static str,
    pub(crate) text: String,
}

impl Default for PageText {
    fn default() -> Self {
        Self {
            title: "This request cannot be used",
            advice: "Go back and try again.".into(),
            link: None,
            note: None,
        }
    }
}

impl ErrorHeader {
    /// Adds the header to a response.
    pub(crate) fn insert_into(self, headers: &mut HeaderMap) {
        let (name, value) = match self {
            Self::RetryAfter(seconds) => (header::RETRY_AFTER, seconds.into()),
            Self::Authenticate(challenge) => (header::WWW_AUTHENTICATE, challenge),
            Self::Challenges(challenges, nonce) => {
                for challenge in challenges {
                    headers.append(header::WWW_AUTHENTICATE, challenge);
                }
                match nonce {
                    Some(nonce) => (dpop::NONCE, nonce),
                    None => return,
                }
            }
            Self::DpopNonce(nonce) => (dpop::NONCE, nonce),
            Self::Allow(methods) => (header::ALLOW, HeaderValue::from_static(methods)),
        };
        headers.insert(name, value);
    }
}

impl ApiError {
    /// An error without a header.
    pub(crate) fn new(
        status: StatusCode,
        code: &'static str,
        description: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { status, code, description: description.into(), header: None, page: None }
    }

    /// Adds the header that the status requires or suggests.
    pub(crate) fn with_header(self, header: ErrorHeader) -> Self {
        Self { header: Some(header), ..self }
    }

    /// Adds `Retry-After` with [`RETRY_AFTER_SECONDS`].
    pub(crate) fn retry_soon(self) -> Self {
        self.with_header(ErrorHeader::RetryAfter(RETRY_AFTER_SECONDS.into()))
    }

    /// Sets the title of a page and what it says to do next.
    pub(crate) fn on_page(
        mut self,
        title: &'static str,
        advice: impl Into<Cow<'static, str>>,
    ) -> Self {
        let page = self.page.get_or_insert_default();
        page.title = title;
        page.advice = advice.into();
        self
    }

    /// 503 `temporarily_unavailable`.
    pub(crate) fn unavailable(description: &'static str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, TEMPORARILY_UNAVAILABLE, description)
            .retry_soon()
    }

    /// 429: the rate limit is exceeded until `wait` has passed.
    pub(crate) fn too_many_requests(wait: Duration) -> Self {
        let seconds = counted(wait.as_secs(), "second", "seconds");
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            TEMPORARILY_UNAVAILABLE,
            format!("There were too many requests of this kind. Wait {seconds} and try again."),
        )
        .with_header(ErrorHeader::RetryAfter(wait.as_secs()))
        .on_page(
            "Too many requests",
            "Load this page again after that. A sign-in in progress is not lost.",
        )
    }

    /// 400: the request has this header more than once.
    pub(crate) fn duplicated_header(name: &'static str) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "invalid_request",
            format!("The request has more than one {name} header. Send it with one."),
        )
    }

    /// 404: no route has this path.
    pub(crate) fn not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not_found",
            "There is nothing at this path. The MCP endpoint is /mcp, the HTTP API is described at \
             /docs.",
        )
    }

    /// 405: the path accepts only the methods in `allowed`.
    pub(crate) fn method_not_allowed(allowed: &'static str) -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            format!("This path accepts {allowed} only."),
        )
        .with_header(ErrorHeader::Allow(allowed))
        .on_page("Not possible this way", "Start again from the beginning.")
    }

    /// The error for a request that poem rejected with this status.
    fn rejected(status: StatusCode) -> Self {
        Self::new(
            status,
            "invalid_request",
            "The request was not understood. The HTTP API is described at /docs.",
        )
    }

    /// 500: an internal error; the log has the details.
    pub(crate) fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "server_error",
            "Something went wrong on this server. If it happens again, give the request id to the \
             operator of this server.",
        )
        .on_page("Something went wrong", "Try again in a moment.")
    }

    /// The JSON response.
    pub(crate) fn into_response(self, request: &RequestId) -> Response {
        let body = serde_json::json!({
            "error": self.code,
            "error_description": self.description,
            "request_id": request.to_string(),
        });
        let mut response = Response::builder()
            .status(self.status)
            .content_type("application/json")
            .header(header::CACHE_CONTROL, "no-store")
            .body(body.to_string());
        if let Some(header) = self.header {
            header.insert_into(response.headers_mut());
        }
        response
    }
}

impl From<ForeignRequest> for ApiError {
    fn from(foreign: ForeignRequest) -> Self {
        match foreign {
            // Possibly DNS rebinding.
            ForeignRequest::Host => Self::new(
                StatusCode::MISDIRECTED_REQUEST,
                "misdirected_request",
                "This server does not answer under the Host of your request. Use the address from \
                 PUBLIC_URL, or set PUBLIC_URL to the address you use.",
            )
            .on_page("Not the address of this server", "Use the address in PUBLIC_URL."),
            ForeignRequest::DuplicatedHost => Self::duplicated_header("Host"),
            ForeignRequest::Origin => Self::new(
                StatusCode::FORBIDDEN,
                "forbidden_origin",
                "Web pages from this Origin may not call this server. Its operator can add the \
                 origin to ALLOWED_ORIGINS.",
            ),
        }
    }
}

impl ResponseError for ApiError {
    fn status(&self) -> StatusCode {
        self.status
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

/// Converts an error of poem, of poem-openapi or of this crate. `allowed`: the methods of the
/// route, which poem does not report.
pub(crate) fn from_poem(error: poem::Error, allowed: &'static str) -> ApiError {
    let error = match error.downcast::<ApiError>() {
        Ok(error) => return error,
        Err(error) => error,
    };
    if error.is::<NotFoundError>() {
        return ApiError::not_found();
    }
    if error.is::<MethodNotAllowedError>() {
        return ApiError::method_not_allowed(allowed);
    }
    if error.status().is_client_error() {
        return ApiError::rejected(error.status());
    }
    tracing::error!(%error, "Request failed with an internal error");
    ApiError::internal()
}
