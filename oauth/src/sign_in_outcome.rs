//! What came of a sign-in, for metrics and for whoever is to blame.

use platform::metrics;

/// What came of a person's return from the identity provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignInOutcome {
    /// The person is signed in.
    Ok,
    /// The person said no.
    Denied,
    /// The person may not use this server.
    Refused,
    /// The browser brought back something that the identity provider does not know or takes from this
    /// person only, such as a used code.
    Rejected,
    /// The identity provider refuses this server's credentials or settings.
    Misconfigured,
    /// The identity provider does not answer, or gives no usable answer.
    ProviderFailed,
    /// The database or another store of this server failed.
    Failed,
}

impl SignInOutcome {
    /// Every one.
    pub const ALL: [Self; 7] = [
        Self::Ok,
        Self::Denied,
        Self::Refused,
        Self::Rejected,
        Self::Misconfigured,
        Self::ProviderFailed,
        Self::Failed,
    ];

    /// The value of the label.
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

    /// Whether the person would be signed in if the server and what it depends on worked.
    pub fn is_failure(self) -> bool {
        matches!(self, Self::Misconfigured | Self::ProviderFailed | Self::Failed)
    }

    pub(super) fn count(self) {
        metrics::OAUTH_SIGN_INS.count([self.as_str()]);
    }
}
