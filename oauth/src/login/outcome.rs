//! Outcomes of sign-ins, for metrics, by cause.

use platform::metrics;

/// The outcome of a user's return from the identity provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignInOutcome {
    /// The user is signed in.
    Ok,
    /// The user canceled the login.
    Denied,
    /// The access policy refused the user.
    Refused,
    /// The callback's parameters were invalid, such as a used code, or the identity
    /// provider refused this user only.
    Rejected,
    /// The identity provider refuses this server's credentials or settings.
    Misconfigured,
    /// The identity provider did not respond, or its response was unusable.
    ProviderFailed,
    /// The database or another store of this server failed.
    Failed,
}

impl SignInOutcome {
    /// All outcomes.
    pub const ALL: [Self; 7] = [
        Self::Ok,
        Self::Denied,
        Self::Refused,
        Self::Rejected,
        Self::Misconfigured,
        Self::ProviderFailed,
        Self::Failed,
    ];

    /// Returns the value of the metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Denied => "denied",
            Self::Refused => "refused",
            Self::Rejected => "rejected",
            Self::Misconfigured => "misconfigured",
            Self::ProviderFailed => "provider_failed",
            Self::Failed => "failed",
        }
    }

    /// Returns whether this server or its dependencies are at fault, rather than the user or the
    /// request.
    pub fn is_failure(self) -> bool {
        matches!(self, Self::Misconfigured | Self::ProviderFailed | Self::Failed)
    }

    pub(crate) fn count(self) {
        metrics::OAUTH_SIGN_INS.increment([self.as_str()]);
    }
}
