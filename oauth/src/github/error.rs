//! Why GitHub's answer is of no use, and who is to blame: the person, this server's settings or GitHub.

use super::sign_in::SignInOutcome;

/// What GitHub says about a code that it did not give, or that was used or has expired.
const UNKNOWN_CODE: &str = "bad_verification_code";

/// What GitHub says when it refuses this server and not the person, and what an operator does about it.
const MISCONFIGURED: [(&str, &str); 7] = [
    ("incorrect_client_credentials", CHECK_CREDENTIALS),
    // What GitHub answers to a client id that it does not know.
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
    app at GitHub; `notes-mcp check` tries them";

pub(crate) const ASK_THE_ORGANIZATION: &str =
    "Ask an owner of ALLOWED_GITHUB_ORG to approve the OAuth app at GitHub";

/// What GitHub says of a person who has to do something at GitHub first.
const UNVERIFIED: &str = "unverified_user_email";

/// Why GitHub's answer is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum GitHubError {
    /// No answer, or not from the GitHub that we expect: another try may succeed.
    #[error("GitHub is not available: {0}")]
    Away(&'static str),
    /// GitHub says no.
    #[error("GitHub refuses: {0}")]
    Refused(String),
}

impl GitHubError {
    /// What a sign-in comes to that ends with this error.
    pub(crate) fn outcome(&self) -> SignInOutcome {
        match self {
            Self::Refused(word) if [UNKNOWN_CODE, UNVERIFIED].contains(&word.as_str()) => {
                SignInOutcome::Rejected
            }
            Self::Refused(_) if self.advice().is_some() => SignInOutcome::Misconfigured,
            Self::Away(_) | Self::Refused(_) => SignInOutcome::ProviderFailed,
        }
    }

    /// What an operator does about it, if GitHub refuses this server.
    pub(crate) fn advice(&self) -> Option<&'static str> {
        let Self::Refused(said) = self else { return None };
        let (_, advice) = MISCONFIGURED.into_iter().find(|(word, _)| word == said)?;
        Some(advice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_github_says_tells_who_is_to_blame() {
        let refused = |word: &str| GitHubError::Refused(word.to_owned());
        for (error, outcome) in [
            (refused("incorrect_client_credentials"), SignInOutcome::Misconfigured),
            (refused("redirect_uri_mismatch"), SignInOutcome::Misconfigured),
            (refused("status 404"), SignInOutcome::Misconfigured),
            (refused("bad_verification_code"), SignInOutcome::Rejected),
            (refused("unverified_user_email"), SignInOutcome::Rejected),
            (refused("no token"), SignInOutcome::ProviderFailed),
            (GitHubError::Away("no answer in time"), SignInOutcome::ProviderFailed),
        ] {
            assert_eq!(error.outcome(), outcome, "{error}");
            let is_ours = outcome == SignInOutcome::Misconfigured;
            assert_eq!(error.advice().is_some(), is_ours, "{error}");
        }
        let advice = refused("incorrect_client_credentials").advice().unwrap();
        assert!(advice.contains("GITHUB_CLIENT_SECRET"), "{advice}");
    }
}
