//! Errors of the OAuth endpoints that clients call (RFC 6749 section 5.2), and the renderer of an
//! [`ApiError`] for them.

use std::borrow::Cow;

use app::metrics;
use http::{HeaderValue, StatusCode};
use poem_openapi::{ApiResponse, payload::Json};

use super::{credentials::CredentialsError, form::FormError};
use crate::http::{
    error::{ApiError, ErrorBody, ErrorHeader, RETRY_AFTER_SECONDS},
    request_id::RequestId,
};

/// The `error` of a response to an invalid request. The status is 401 for
/// [`ErrorCode::InvalidClient`] and 400 for all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorCode {
    /// RFC 6749 section 5.2, like the others without a reference.
    InvalidRequest,
    InvalidClient,
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
    /// RFC 9449 section 5.
    InvalidDpopProof,
    /// RFC 9449 section 8.
    UseDpopNonce,
}

impl ErrorCode {
    fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::InvalidGrant => "invalid_grant",
            Self::InvalidScope => "invalid_scope",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::InvalidTarget => "invalid_target",
            Self::InvalidRedirectUri => "invalid_redirect_uri",
            Self::InvalidClientMetadata => "invalid_client_metadata",
            Self::UnapprovedSoftwareStatement => "unapproved_software_statement",
            Self::InvalidDpopProof => "invalid_dpop_proof",
            Self::UseDpopNonce => "use_dpop_nonce",
        }
    }
}

/// The response to a request that failed.
#[derive(ApiResponse)]
pub(crate) enum OAuthErrorResponse {
    /// The request is invalid; `error` is the reason.
    #[oai(status = 400)]
    BadRequest(
        Json<ErrorBody>,
        /// The nonce for the next DPoP proof, with `use_dpop_nonce`.
        #[oai(header = "DPoP-Nonce")]
        Option<String>,
    ),
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

impl OAuthErrorResponse {
    /// Renders an error.
    fn new(error: ApiError, request: &RequestId) -> Self {
        let body = Json(ErrorBody::new(error.code, error.description, request));
        let retry_after = match &error.header {
            Some(ErrorHeader::RetryAfter(seconds)) => *seconds,
            _ => RETRY_AFTER_SECONDS.into(),
        };
        match error.status {
            StatusCode::UNAUTHORIZED => {
                let challenge = match error.header {
                    Some(ErrorHeader::Authenticate(challenge)) => {
                        challenge.to_str().ok().map(str::to_owned)
                    }
                    _ => None,
                };
                Self::InvalidClient(body, challenge)
            }
            StatusCode::REQUEST_TIMEOUT => Self::Timeout(body),
            StatusCode::PAYLOAD_TOO_LARGE => Self::TooLarge(body),
            StatusCode::TOO_MANY_REQUESTS => Self::TooManyRequests(body, retry_after),
            StatusCode::SERVICE_UNAVAILABLE => {
                Self::Unavailable(body, u32::try_from(retry_after).unwrap_or(u32::MAX))
            }
            _ => {
                let nonce = match error.header {
                    Some(ErrorHeader::DpopNonce(nonce)) => nonce.to_str().ok().map(str::to_owned),
                    _ => None,
                };
                Self::BadRequest(body, nonce)
            }
        }
    }
}

/// Finishes a request: counts it in the metrics, by its result, and renders an error.
pub(super) fn respond<T>(
    endpoint: &str,
    grant_type: &str,
    request: &RequestId,
    result: Result<T, ApiError>,
) -> Result<T, OAuthErrorResponse> {
    let code = result.as_ref().err().map_or(metrics::NO_ERROR, |error| error.code);
    metrics::OAUTH_REQUESTS.increment([endpoint, grant_type, code]);
    result.map_err(|error| OAuthErrorResponse::new(error, request))
}

/// Whether the request may have been an attempt to guess a secret, a code or a token.
pub(super) fn may_be_guess(error: &ApiError) -> bool {
    [ErrorCode::InvalidClient, ErrorCode::InvalidGrant]
        .iter()
        .any(|code| error.code == code.as_str())
}

/// An invalid request.
pub(super) fn invalid(code: ErrorCode, description: impl Into<Cow<'static, str>>) -> ApiError {
    let status = match code {
        ErrorCode::InvalidClient => StatusCode::UNAUTHORIZED,
        _ => StatusCode::BAD_REQUEST,
    };
    ApiError::new(status, code.as_str(), description)
}

/// 400 `invalid_request`.
pub(super) fn invalid_request(description: impl Into<Cow<'static, str>>) -> ApiError {
    invalid(ErrorCode::InvalidRequest, description)
}

/// 401 `invalid_client`. `used_basic`: whether the client used HTTP Basic authentication, which
/// requires a challenge in the response.
pub(super) fn invalid_client(used_basic: bool) -> ApiError {
    let description = "The client is unknown, or its authentication failed. If it registered \
                       itself, it has to register again.";
    let error = invalid(ErrorCode::InvalidClient, description);
    if used_basic { error.with_header(BASIC) } else { error }
}

/// The challenge to a client that used HTTP Basic authentication.
const BASIC: ErrorHeader =
    ErrorHeader::Authenticate(HeaderValue::from_static("Basic realm=\"mcp\""));

/// 503 `temporarily_unavailable`.
pub(super) fn unavailable() -> ApiError {
    ApiError::unavailable(
        "The server cannot do this at the moment. Nothing has changed: send the same request again \
         in a few seconds, with a new assertion or DPoP proof if it had one.",
    )
}

impl From<FormError> for ApiError {
    fn from(error: FormError) -> Self {
        match error {
            FormError::TooMany => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", error.description())
            }
            _ => invalid_request(error.description()),
        }
    }
}

impl From<CredentialsError> for ApiError {
    fn from(error: CredentialsError) -> Self {
        match error {
            CredentialsError::Malformed => invalid(
                ErrorCode::InvalidClient,
                "The Authorization header holds no Basic credentials. Send Basic and the base64 of \
                 client_id:client_secret, or the two in the body. A client without a secret only \
                 sends its client_id, in the body.",
            )
            .with_header(BASIC),
            CredentialsError::OtherClient => invalid(
                ErrorCode::InvalidClient,
                "The Basic credentials in the Authorization header are not those of the client_id \
                 in the body. Send those of one client.",
            )
            .with_header(BASIC),
            CredentialsError::TwoWays => invalid_request(
                "Send the client's credentials once: in one Authorization header, or in the body as a \
                 secret or as an assertion.",
            ),
            CredentialsError::Missing => invalid_request("client_id is required."),
            CredentialsError::AssertionType => invalid_request(
                "client_assertion_type must be \
                 urn:ietf:params:oauth:client-assertion-type:jwt-bearer.",
            ),
            CredentialsError::AssertionClient => invalid(
                ErrorCode::InvalidClient,
                "The client_assertion is not a signed JWT whose sub is the client_id, or is missing.",
            ),
        }
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
