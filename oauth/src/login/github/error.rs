//! Errors of GitHub, and their causes: the user, this server's settings, or GitHub itself.

use crate::login::{
    http::{NoResponse, plain_code},
    outcome::SignInOutcome,
    provider::{Cause, ProviderError},
};

/// GitHub's error code for a code that it did not issue, or that was used or has expired.
const UNKNOWN_CODE: &str = "bad_verification_code";

/// GitHub's error codes for refusing this server rather than the user, each with advice for the
/// operator.
const MISCONFIGURED: [(&str, &str); 7] = [
    ("incorrect_client_credentials", CHECK_CREDENTIALS),
    // GitHub's response to an unknown client id.
    ("status 404", CHECK_CREDENTIALS),
    ("invalid_client", CHECK_CREDENTIALS),
    ("unauthorized_client", CHECK_CREDENTIALS),
    ("status 401", CHECK_CREDENTIALS),
    (
        "redirect_uri_mismatch",
        "Set the callback of the OAuth app at GitHub to PUBLIC_URL followed by \
         /oauth/github/callback",
    ),
    ("application_suspended", "Ask GitHub support why the OAuth app is suspended"),
];

const CHECK_CREDENTIALS: &str = "Check GITHUB_CLIENT_ID and GITHUB_CLIENT_SECRET against the OAuth \
    app at GitHub; the command `check` tries them";

pub(super) const ASK_THE_ORGANIZATION: &str =
    "Ask an owner of ALLOWED_GITHUB_ORG to approve the OAuth app at GitHub";

/// GitHub's error code for a user who must first verify their email address at GitHub.
const UNVERIFIED: &str = "unverified_user_email";

/// Why a request to GitHub failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum GitHubError {
    /// No usable response: a retry may succeed.
    #[error("GitHub is not available: {0}")]
    Unavailable(&'static str),
    /// GitHub refuses the request; contains its error code.
    #[error("GitHub refused the request: {0}")]
    Refused(String),
}

impl GitHubError {
    /// Builds an error from an error code of GitHub.
    pub(super) fn refused(code: &str) -> Self {
        Self::Refused(plain_code(code))
    }

    /// Returns the outcome of a sign-in that ends with this error.
    pub(super) fn outcome(&self) -> SignInOutcome {
        match self {
            Self::Refused(code) if [UNKNOWN_CODE, UNVERIFIED].contains(&code.as_str()) => {
                SignInOutcome::Rejected
            }
            Self::Refused(_) if self.advice().is_some() => SignInOutcome::Misconfigured,
            Self::Unavailable(_) | Self::Refused(_) => SignInOutcome::ProviderFailed,
        }
    }

    /// Returns advice for the operator, or `None` unless GitHub refuses this server.
    pub(super) fn advice(&self) -> Option<&'static str> {
        let Self::Refused(code) = self else { return None };
        let (_, advice) = MISCONFIGURED.into_iter().find(|(known, _)| known == code)?;
        Some(advice)
    }
}

impl From<NoResponse> for GitHubError {
    fn from(NoResponse(why): NoResponse) -> Self {
        Self::Unavailable(why)
    }
}

impl From<GitHubError> for ProviderError {
    fn from(error: GitHubError) -> Self {
        let cause = match (&error, error.outcome()) {
            (_, SignInOutcome::Rejected) => Cause::Rejected,
            (GitHubError::Unavailable(_), _) => Cause::Unavailable,
            (GitHubError::Refused(_), _) => {
                error.advice().map_or(Cause::Unusable, Cause::Misconfigured)
            }
        };
        Self { message: error.to_string(), cause }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_classified_by_cause() {
        let refused = |word: &str| GitHubError::Refused(word.to_owned());
        for (error, outcome) in [
            (refused("incorrect_client_credentials"), SignInOutcome::Misconfigured),
            (refused("redirect_uri_mismatch"), SignInOutcome::Misconfigured),
            (refused("status 404"), SignInOutcome::Misconfigured),
            (refused("bad_verification_code"), SignInOutcome::Rejected),
            (refused("unverified_user_email"), SignInOutcome::Rejected),
            (refused("no token"), SignInOutcome::ProviderFailed),
            (GitHubError::Unavailable("no response in time"), SignInOutcome::ProviderFailed),
        ] {
            assert_eq!(error.outcome(), outcome, "{error}");
            let is_misconfigured = outcome == SignInOutcome::Misconfigured;
            assert_eq!(error.advice().is_some(), is_misconfigured, "{error}");
        }
        let advice = refused("incorrect_client_credentials").advice().unwrap();
        assert!(advice.contains("GITHUB_CLIENT_SECRET"), "{advice}");
    }
}
