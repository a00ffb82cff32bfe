//! Errors of OpenID Connect providers, and their causes.

use crate::{
    cached::TimedOut,
    jwt::JwtError,
    login::{
        http::{NoResponse, plain_code},
        provider::{Cause, ProviderError},
    },
};

const CHECK_CREDENTIALS: &str = "Check OIDC_<NAME>_CLIENT_ID and OIDC_<NAME>_CLIENT_SECRET of this \
    provider against the client that is registered there";

const CHECK_CALLBACK: &str = "Register PUBLIC_URL followed by /oauth/<name>/callback as the redirect \
    URI of the client at this provider";

const CHECK_SCOPES: &str = "Check OIDC_<NAME>_SCOPES of this provider: it does not offer one of the \
    scopes to this client";

const CHECK_ISSUER: &str = "Set OIDC_<NAME>_ISSUER of this provider to the issuer in its document \
    /.well-known/openid-configuration; docs/sign-in.md has examples";

/// The error code of OAuth for a code or a refresh token that is not valid (RFC 6749, section 5.2).
pub(super) const INVALID_GRANT: &str = "invalid_grant";

/// Error codes of the endpoints for refusing this server rather than the user, each with advice for
/// the operator.
const MISCONFIGURED: [(&str, &str); 8] = [
    ("invalid_client", CHECK_CREDENTIALS),
    ("unauthorized_client", CHECK_CREDENTIALS),
    ("status 401", CHECK_CREDENTIALS),
    ("redirect_uri_mismatch", CHECK_CALLBACK),
    ("invalid_redirect_uri", CHECK_CALLBACK),
    ("invalid_scope", CHECK_SCOPES),
    ("unsupported_response_type", CHECK_CREDENTIALS),
    ("unsupported_grant_type", CHECK_CREDENTIALS),
];

/// Why a request to a provider, or the use of its response, failed. No variant contains a secret or
/// unfiltered text of the provider.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum OidcError {
    /// No usable response: a retry may succeed.
    #[error("the provider is not available: {0}")]
    Unavailable(&'static str),
    /// The provider refuses the request; contains its error code.
    #[error("the provider refused the request: {0}")]
    Refused(String),
    /// The discovery document contradicts the configuration, or lacks what this server needs.
    #[error("the discovery document cannot be used: {0}")]
    Discovery(&'static str),
    /// The ID token is invalid.
    #[error("the ID token is not valid: {0}")]
    IdToken(&'static str),
    /// Another response cannot be used.
    #[error("the response cannot be used: {0}")]
    Unusable(&'static str),
}

impl OidcError {
    /// Builds an error from an error code of the provider.
    pub(super) fn refused(code: &str) -> Self {
        Self::Refused(plain_code(code))
    }

    fn cause(&self) -> Cause {
        match self {
            Self::Unavailable(_) => Cause::Unavailable,
            Self::Refused(code) => match code.as_str() {
                INVALID_GRANT => Cause::Rejected,
                "temporarily_unavailable" | "server_error" => Cause::Unavailable,
                code => MISCONFIGURED
                    .into_iter()
                    .find(|(known, _)| *known == code)
                    .map_or(Cause::Unusable, |(_, advice)| Cause::Misconfigured(advice)),
            },
            Self::Discovery(_) => Cause::Misconfigured(CHECK_ISSUER),
            Self::IdToken(_) | Self::Unusable(_) => Cause::Unusable,
        }
    }

    /// Converts the error into that of all providers. `label` is the name of the provider.
    pub(super) fn at(&self, label: &str) -> ProviderError {
        ProviderError { message: format!("{label}: {self}"), cause: self.cause() }
    }
}

impl From<TimedOut> for OidcError {
    fn from(_: TimedOut) -> Self {
        Self::Unavailable("no response in time")
    }
}

impl From<NoResponse> for OidcError {
    fn from(NoResponse(why): NoResponse) -> Self {
        Self::Unavailable(why)
    }
}

impl From<JwtError> for OidcError {
    fn from(JwtError(why): JwtError) -> Self {
        Self::IdToken(why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_classified_by_cause() {
        for (code, cause) in [
            ("invalid_grant", Cause::Rejected),
            ("server_error", Cause::Unavailable),
            ("invalid_client", Cause::Misconfigured(CHECK_CREDENTIALS)),
            ("redirect_uri_mismatch", Cause::Misconfigured(CHECK_CALLBACK)),
            ("invalid_scope", Cause::Misconfigured(CHECK_SCOPES)),
            ("login_required", Cause::Unusable),
        ] {
            assert_eq!(OidcError::refused(code).at("Keycloak").cause, cause, "{code}");
        }
        let error = OidcError::refused("<b>\u{202e}invalid\nclient</b>").at("Keycloak");
        assert_eq!(error.message, "Keycloak: the provider refused the request: binvalidclientb");
    }
}
