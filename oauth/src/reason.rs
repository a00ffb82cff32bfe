//! Why a grant was revoked.

use crate::login::policy::DenialReason;

/// Why a grant was revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The client revoked a token (RFC 7009).
    Client,
    /// The user disconnected the app.
    Person,
    /// The user deleted their account.
    AccountDeleted,
    /// An operator blocked the user.
    Blocked,
    /// An operator revoked it.
    Operator,
    /// The publisher of the client withdrew it.
    ClientGone,
    /// The access policy no longer admits the user.
    PolicyDenied(DenialReason),
    /// Its code was presented again.
    CodeReplay,
    /// One of its refresh tokens was presented again.
    RefreshReplay,
}

impl Reason {
    /// Returns whether all other access of the user ends too: sessions of the account page, access
    /// tokens without a grant, and the jobs and links that were created with them. `false` if the
    /// reason concerns one app, or if the user disconnects all apps.
    pub fn ends_all_access(self) -> bool {
        match self {
            Self::PolicyDenied(_) | Self::AccountDeleted | Self::Blocked => true,
            Self::Client
            | Self::Person
            | Self::Operator
            | Self::ClientGone
            | Self::CodeReplay
            | Self::RefreshReplay => false,
        }
    }

    /// Returns the word that the database stores.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Person => "person",
            Self::AccountDeleted => "account_deleted",
            Self::Blocked => "blocked",
            Self::Operator => "operator",
            Self::ClientGone => "client_gone",
            Self::PolicyDenied(_) => "gate",
            Self::CodeReplay => "code_replay",
            Self::RefreshReplay => "refresh_replay",
        }
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::PolicyDenied(why) => write!(f, "gate: {why}"),
            other => f.write_str(other.as_str()),
        }
    }
}
