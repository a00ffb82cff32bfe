//! Errors of the OAuth endpoints that clients call (RFC 6749 section 5.2).

use app::metrics;
use http::StatusCode;
use poem_openapi::{ApiResponse, payload::Json};

use super::{credentials::CredentialsError, form::FormError};
use crate::http::{
    error::{ApiError, ErrorBody, RETRY_AFTER_SECONDS},
    request_id::RequestId,
};

/// The `error` of a body with status 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorCode {
    /// RFC 6749 section 5.2, like the others without a reference.
    InvalidRequest,
    InvalidGrant,
    InvalidScope,
    UnauthorizedClient,
    UnsupportedGrantType,
    /// RFC 8707 section 2.
    InvalidTarget,
    /// RFC 7591 section 3.2.2.
    InvalidRedirectUri,
    /// RFC 7591 section 3.2.2.
    InvalidClientMetadata,
    /// RFC 7591 section 3.2.2.
    UnapprovedSoftwareStatement,
}

impl ErrorCode {
    fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidGrant => "invalid_grant",
            Self::InvalidScope => "invalid_scope",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::InvalidTarget => "invalid_target",
            Self::InvalidRedirectUri => "invalid_redirect_uri",
            Self::InvalidClientMetadata => "invalid_client_metadata",
            Self::UnapprovedSoftwareStatement => "unapproved_software_statement",
        }
    }
}

/// The response to a request that failed.
#[derive(ApiResponse)]
pub(crate) enum OAuthError {
    /// The request is invalid; `error` is the reason.
    #[oai(status = 400)]
    BadRequest(Json<ErrorBody>),
    /// `invalid_client`: the client is unknown or failed to authenticate. A client that registered
    /// itself can register again.
    #[oai(status = 401)]
    InvalidClient(
        Json<ErrorBody>,
        /// `Basic`, if the client used HTTP Basic authentication.
        #[oai(header = "WWW-Authenticate")]
        Option<String>,
    ),
    /// The body did not arrive in time.
    #[oai(status = 408)]
    Timeout(Json<ErrorBody>),
    /// The body is too large.
    #[oai(status = 413)]
    TooLarge(Json<ErrorBody>),
    /// Too many requests from this network, or too many that failed.
    #[oai(status = 429)]
    TooManyRequests(
        Json<ErrorBody>,
        /// Seconds to wait before the next request.
        #[oai(header = "Retry-After")]
        u64,
    ),
    /// `temporarily_unavailable`: nothing has changed, and the same request may succeed later.
    #[oai(status = 503)]
    Unavailable(
        Json<ErrorBody>,
        /// Seconds to wait before the next request.
        #[oai(header = "Retry-After")]
        u32,
    ),
}

impl OAuthError {
    fn body(&self) -> &ErrorBody {
        match self {
            Self::BadRequest(body)
            | Self::InvalidClient(body, _)
            | Self::Timeout(body)
            | Self::TooLarge(body)
            | Self::TooManyRequests(body, _)
            | Self::Unavailable(body, _) => body,
        }
    }

    /// Whether the request may have been an attempt to guess a secret, a code or a token.
    pub(super) fn may_be_guess(&self) -> bool {
        match self {
            Self::InvalidClient(..) => true,
            Self::BadRequest(body) => body.error == ErrorCode::InvalidGrant.as_str(),
            _ => false,
        }
    }
}

/// Counts a request in the metrics, by its result.
pub(crate) fn count_request<T>(endpoint: &str, grant_type: &str, result: &Result<T, OAuthError>) {
    let error = result.as_ref().err().map_or(metrics::NO_ERROR, |error| &error.body().error);
    metrics::OAUTH_REQUESTS.count([endpoint, grant_type, error]);
}

/// Builds the errors of one request.
#[derive(Clone, Copy)]
pub(crate) struct OAuthErrors<'a>(pub &'a RequestId);

impl OAuthErrors<'_> {
    /// 400 with this code.
    pub(crate) fn invalid(self, code: ErrorCode, description: impl Into<String>) -> OAuthError {
        OAuthError::BadRequest(self.body(code.as_str(), description))
    }

    /// 400 `invalid_request`.
    pub(crate) fn invalid_request(self, description: impl Into<String>) -> OAuthError {
        self.invalid(ErrorCode::InvalidRequest, description)
    }

    /// 401 `invalid_client`. `used_basic`: whether the client used HTTP Basic authentication, which
    /// requires a challenge in the response.
    pub(crate) fn invalid_client(self, used_basic: bool) -> OAuthError {
        let description = "The client is unknown, or its authentication failed. If it registered \
                           itself, it has to register again.";
        self.invalid_client_because(description, used_basic)
    }

    fn invalid_client_because(self, description: &str, used_basic: bool) -> OAuthError {
        let challenge = used_basic.then(|| "Basic realm=\"mcp\"".to_owned());
        OAuthError::InvalidClient(self.body("invalid_client", description), challenge)
    }

    /// 503 `temporarily_unavailable`.
    pub(crate) fn unavailable(self) -> OAuthError {
        let description = "The server cannot do this at the moment. Nothing has changed: send the \
                           same request again in a few seconds.";
        let body = self.body("temporarily_unavailable", description);
        OAuthError::Unavailable(body, RETRY_AFTER_SECONDS)
    }

    /// A body that is not a valid form.
    pub(super) fn form(self, error: FormError) -> OAuthError {
        match error {
            FormError::TooMany => {
                OAuthError::TooLarge(self.body("payload_too_large", error.description()))
            }
            _ => self.invalid_request(error.description()),
        }
    }

    /// A request without valid client credentials.
    pub(super) fn credentials(self, error: CredentialsError) -> OAuthError {
        match error {
            CredentialsError::Malformed => self.invalid_client_because(
                "The Authorization header holds no Basic credentials. Send Basic and the base64 of \
                 client_id:client_secret, or the two in the body. A client without a secret only \
                 sends its client_id, in the body.",
                true,
            ),
            CredentialsError::OtherClient => self.invalid_client_because(
                "The Basic credentials in the Authorization header are not those of the client_id \
                 in the body. Send those of one client.",
                true,
            ),
            CredentialsError::TwoWays => self.invalid_request(
                "Send the client's credentials once: in one Authorization header or in the body.",
            ),
            CredentialsError::Missing => self.invalid_request("client_id is required."),
        }
    }

    /// A body that could not be read, or a rate limit.
    pub(crate) fn api(self, error: &ApiError) -> OAuthError {
        let (status, code, description) = error.parts();
        let body = self.body(code, description);
        match (status, error) {
            (_, ApiError::TooManyRequests(wait)) => {
                OAuthError::TooManyRequests(body, wait.as_secs())
            }
            (StatusCode::TOO_MANY_REQUESTS, _) => {
                OAuthError::TooManyRequests(body, RETRY_AFTER_SECONDS.into())
            }
            (StatusCode::SERVICE_UNAVAILABLE, _) => {
                OAuthError::Unavailable(body, RETRY_AFTER_SECONDS)
            }
            (StatusCode::PAYLOAD_TOO_LARGE, _) => OAuthError::TooLarge(body),
            (StatusCode::REQUEST_TIMEOUT, _) => OAuthError::Timeout(body),
            _ => OAuthError::BadRequest(body),
        }
    }

    fn body(self, code: &str, description: impl Into<String>) -> Json<ErrorBody> {
        Json(ErrorBody::new(code, description, self.0))
    }
}

/// The text of an error as a sentence.
pub(crate) fn sentence(error: &impl ToString) -> String {
    let mut text = error.to_string();
    if !text.ends_with('.') {
        text.push('.');
    }
    text
}
