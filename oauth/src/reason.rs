//! Why a grant was revoked.

use crate::gate::Closed;

/// Why a grant can be revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The client gave a token back (RFC 7009).
    Client,
    /// The person disconnected the app.
    Person,
    /// The person deleted their account.
    AccountDeleted,
    /// An operator blocked the person.
    Blocked,
    /// An operator wanted it.
    Operator,
    /// Whoever publishes the client took it back.
    ClientGone,
    /// The person may no longer come in.
    Gate(Closed),
    /// Its code was presented again.
    CodeReplay,
    /// One of its refresh tokens was presented again.
    RefreshReplay,
}

impl Reason {
    /// Whether everything else of the person ends too: sessions of the account page, access tokens
    /// without a grant, and what was made with them. Not so if it is about one app, or if the person
    /// disconnects all of them.
    pub fn ends_all_access(self) -> bool {
        match self {
            Self::Gate(_) | Self::AccountDeleted | Self::Blocked => true,
            Self::Client
            | Self::Person
            | Self::Operator
            | Self::ClientGone
            | Self::CodeReplay
            | Self::RefreshReplay => false,
        }
    }

    /// The word in the row.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Person => "person",
            Self::AccountDeleted => "account_deleted",
            Self::Blocked => "blocked",
            Self::Operator => "operator",
            Self::ClientGone => "client_gone",
            Self::Gate(_) => "gate",
            Self::CodeReplay => "code_replay",
            Self::RefreshReplay => "refresh_replay",
        }
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Gate(why) => write!(f, "gate: {why}"),
            other => f.write_str(other.as_str()),
        }
    }
}
