//! What the OAuth endpoints for programs say when something is wrong (RFC 6749, section 5.2).

use http::StatusCode;
use poem_openapi::{ApiResponse, payload::Json};

use service::metrics;

use super::{credentials::CredentialsError, form::FormError};
use crate::http::{
    error::{ApiError, ErrorBody, RETRY_AFTER_SECONDS},
    request_id::RequestId,
};

/// Nothing came of a request.
#[derive(ApiResponse)]
pub(crate) enum Failed {
    /// The request is wrong; `error` says how.
    #[oai(status = 400)]
    Invalid(Json<ErrorBody>),
    /// `invalid_client`: there is no such client, or it could not prove who it is. A client that
    /// registered itself can do so again.
    #[oai(status = 401)]
    Client(
        Json<ErrorBody>,
        /// `Basic`, if the client used HTTP Basic authentication.
        #[oai(header = "WWW-Authenticate")]
        Option<String>,
    ),
    /// The body did not arrive in time.
    #[oai(status = 408)]
    Slow(Json<ErrorBody>),
    /// The body is too large.
    #[oai(status = 413)]
    Large(Json<ErrorBody>),
    /// Too many requests from this network, or too many that failed.
    #[oai(status = 429)]
    Often(
        Json<ErrorBody>,
        /// Seconds until it is worth another try.
        #[oai(header = "Retry-After")]
        u64,
    ),
    /// `temporarily_unavailable`: nothing has changed, and the same request may succeed later.
    #[oai(status = 503)]
    Unavailable(
        Json<ErrorBody>,
        /// Seconds until it is worth another try.
        #[oai(header = "Retry-After")]
        u32,
    ),
}

impl Failed {
    /// The code in the body.
    fn code(&self) -> &str {
        match self {
            Self::Invalid(body)
            | Self::Client(body, _)
            | Self::Slow(body)
            | Self::Large(body)
            | Self::Often(body, _)
            | Self::Unavailable(body, _) => &body.error,
        }
    }
}

/// Counts a request of a client, and passes its answer on.
pub(crate) fn counted<T>(
    endpoint: &str,
    grant_type: &str,
    answer: Result<T, Failed>,
) -> Result<T, Failed> {
    let error = answer.as_ref().err().map_or(metrics::NO_ERROR, Failed::code);
    metrics::OAUTH_REQUESTS.count([endpoint, grant_type, error]);
    answer
}

/// Writes failures of one request.
#[derive(Clone, Copy)]
pub(crate) struct Fail<'a>(pub &'a RequestId);

impl Fail<'_> {
    /// 400 with this code and sentence.
    pub(crate) fn invalid(self, code: &str, description: impl Into<String>) -> Failed {
        Failed::Invalid(self.body(code, description))
    }

    /// 400 `invalid_request`.
    pub(crate) fn request(self, description: impl Into<String>) -> Failed {
        self.invalid("invalid_request", description)
    }

    /// 401 `invalid_client`. `challenge`: whether the client used HTTP Basic authentication.
    pub(crate) fn client(self, challenge: bool) -> Failed {
        let description = "The client is not known here, or could not prove who it is. If it \
                           registered itself, let it do so again.";
        self.invalid_client(description, challenge)
    }

    fn invalid_client(self, description: &str, challenge: bool) -> Failed {
        let challenge = challenge.then(|| "Basic realm=\"notes-mcp\"".to_owned());
        Failed::Client(self.body("invalid_client", description), challenge)
    }

    /// 503 `temporarily_unavailable`.
    pub(crate) fn unavailable(self) -> Failed {
        let description = "The server cannot do this at the moment. Nothing has changed: send the \
                           same request again in a few seconds.";
        let body = self.body("temporarily_unavailable", description);
        Failed::Unavailable(body, RETRY_AFTER_SECONDS)
    }

    /// A body that is not one of parameters.
    pub(crate) fn form(self, error: FormError) -> Failed {
        match error {
            FormError::TooMany => {
                Failed::Large(self.body("payload_too_large", error.description()))
            }
            _ => self.request(error.description()),
        }
    }

    /// A request that does not say who sends it.
    pub(crate) fn credentials(self, error: CredentialsError) -> Failed {
        match error {
            CredentialsError::Malformed => self.invalid_client(
                "The Authorization header holds no Basic credentials. Send Basic and the base64 of \
                 client_id:client_secret, or the two in the body. A client without a secret only \
                 sends its client_id, in the body.",
                true,
            ),
            CredentialsError::OtherClient => self.invalid_client(
                "The Basic credentials in the Authorization header are not those of the client_id \
                 in the body. Send those of one client.",
                true,
            ),
            CredentialsError::TwoWays => self.request(
                "Send the client's credentials once: in one Authorization header or in the body.",
            ),
            CredentialsError::Missing => self.request("client_id is required."),
        }
    }

    /// A body that could not be read, or a limit.
    pub(crate) fn refusal(self, refusal: &ApiError) -> Failed {
        let (status, code, description) = refusal.parts();
        let body = self.body(code, description);
        match (status, refusal) {
            (_, ApiError::TooManyRequests(wait)) => Failed::Often(body, wait.as_secs()),
            (StatusCode::PAYLOAD_TOO_LARGE, _) => Failed::Large(body),
            (StatusCode::REQUEST_TIMEOUT, _) => Failed::Slow(body),
            _ => Failed::Invalid(body),
        }
    }

    fn body(self, code: &str, description: impl Into<String>) -> Json<ErrorBody> {
        Json(ErrorBody::new(code, description, self.0))
    }
}

/// A sentence of the rules as it goes over the wire.
pub(crate) fn sentence(error: &impl ToString) -> String {
    let mut text = error.to_string();
    if !text.ends_with('.') {
        text.push('.');
    }
    text
}
