//! How a login ends.

use super::outcome::SignInOutcome;
use crate::pending::StoreUnavailable;

/// Where the user is sent after the login.
#[derive(Debug)]
pub enum FinishedLogin {
    /// Redirect to the client, with a code or an error.
    ToClient {
        /// The redirect URI with the authorization response in its query.
        uri: String,
        /// The outcome that the response reports.
        outcome: SignInOutcome,
    },
    /// Redirect to the account page.
    ToAccount {
        /// The value of the session cookie, valid for
        /// [`ACCOUNT_SESSION_TTL`](super::ACCOUNT_SESSION_TTL).
        session: String,
    },
}

/// Why a login could not be finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallbackError {
    /// The request does not have the form of a callback.
    Malformed,
    /// The pending login does not exist, has expired, or was finished already.
    NotFound,
    /// The login was started in another browser.
    OtherBrowser,
    /// The name is invalid; the user may enter another one.
    Name,
    /// The access policy refuses the user.
    Refused(Refusal),
    /// The user canceled the login, and no client waits for the response.
    Denied,
    /// The callback's parameters were rejected, and no client waits for the response. Anyone can
    /// send such a request, so it does not indicate a fault of this server.
    Rejected,
    /// The provider's response cannot be used, and no client waits for a response.
    Failed,
    /// A dependency failed. A new attempt may succeed later.
    Unavailable,
}

/// The message for a user whom the access policy refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The login of the user.
    pub login: String,
    /// Why the user is refused, and whom to ask, in sentences.
    pub sentence: String,
    /// The client's redirect URI with the error `access_denied`, or `None` if no client waits.
    pub back: Option<String>,
}

impl From<StoreUnavailable> for CallbackError {
    fn from(error: StoreUnavailable) -> Self {
        tracing::error!(%error, "Could not access a pending login or an account session");
        Self::Unavailable
    }
}
