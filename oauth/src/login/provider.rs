//! The trait of identity providers.
//!
//! A provider authenticates users; everything around it is the same for all of them: the pending
//! login and its binding to the browser, the access policy, the user's row, the audit log, and the
//! code or session that the login is for.

use std::{fmt, sync::LazyLock, time::Duration};

use async_trait::async_trait;
use mcp::UserId;
use platform::secret::Secret;
use tokio::time::Instant;

use super::{outcome::SignInOutcome, policy::AccessPolicy};
use crate::pkce::Verifier;

/// The timeout for all requests to a provider during one login together, so that the user does not
/// wait long.
pub const LOGIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Authenticates users.
///
/// To add a provider, implement this in a file of [`crate::login`] and add a line to
/// [`crate::login::providers`].
#[async_trait]
pub trait IdentityProvider: fmt::Debug + Send + Sync {
    /// Returns the first part of the identities of this provider's users, `<id>:<subject>`. It has
    /// lower-case letters only, differs from those of all other providers, and never changes.
    fn id(&self) -> &'static str;

    /// Returns the name of the provider on pages and in messages.
    fn label(&self) -> &'static str;

    /// Returns the path to which the provider redirects: `/oauth/<id>/callback`. `None`: it does
    /// not redirect, and users enter their name on a page of this server
    /// ([`Destination::NamePage`]).
    fn callback_path(&self) -> Option<&'static str>;

    /// Returns the kind of the records of pending logins, part of their keys. It differs from those
    /// of all other records, so that a login can be finished only by the provider that it was
    /// started at.
    fn record_kind(&self) -> &'static str {
        self.id()
    }

    /// Returns what pages and messages say about the sign-in. `things` is what users keep here,
    /// such as `notes`.
    fn texts(&self, things: &str) -> Texts {
        Texts::of(self.label(), things)
    }

    /// Describes who may sign in, in a few words.
    fn who_may_sign_in(&self) -> String {
        self.policy().describe(self.label())
    }

    /// Describes who may sign in and how to change it, for the command `check`.
    fn access_report(&self) -> String {
        format!("may sign in: {}", self.who_may_sign_in())
    }

    /// Returns the access policy for the users of this provider. Default: all users.
    fn policy(&self) -> &AccessPolicy {
        static EVERYONE: LazyLock<AccessPolicy> = LazyLock::new(AccessPolicy::default);
        &EVERYONE
    }

    /// Starts a login: returns where the browser is sent. The provider has to return `state`
    /// unchanged. `verifier` is the PKCE verifier of the login, which is also passed to
    /// [`finish`](Self::finish).
    fn start(&self, state: &str, verifier: &Verifier) -> Destination;

    /// Reads the parameters of a callback, without IO. They are not trusted: anyone can send them.
    fn read_callback(
        &self,
        parameters: &[(String, String)],
    ) -> Result<CallbackResult, InvalidCallback>;

    /// Finishes a login with the code of a callback: returns the identity of the user.
    async fn finish(
        &self,
        code: &str,
        verifier: &str,
        deadline: Deadline,
    ) -> Result<Identity, ProviderError>;

    /// Queries the membership of a user in a group, with the user's own token. Called only if the
    /// access policy requires membership.
    async fn membership(
        &self,
        _token: &Secret,
        _group: &str,
        _deadline: Deadline,
    ) -> Result<Membership, ProviderError> {
        let message = format!("{} does not support queries of memberships", self.label());
        Err(ProviderError { message, cause: Cause::Unusable })
    }

    /// Returns advice for the operator if the provider does not let this server query memberships.
    fn membership_advice(&self) -> &'static str {
        "Allow this server to query memberships"
    }

    /// Revokes a token that is no longer needed. Best effort, in the background.
    fn revoke_token(&self, _token: &Secret) {}

    /// Checks the configuration at the provider, for the command `check`. Returns what was found.
    async fn check(&self) -> anyhow::Result<String>;
}

/// Where the browser is sent to sign in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// The complete URL of the provider's page.
    External(String),
    /// This server's own page, which asks for a name.
    NamePage,
}

/// The content of a callback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallbackResult {
    /// The authorization code, or what the user entered on this server's page.
    Code(String),
    /// The user canceled the login.
    Canceled,
    /// The provider reports an error.
    Error(ProviderError),
}

/// Why the parameters of a callback cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidCallback {
    /// They do not have the form of a callback.
    Malformed,
    /// The name that the user entered is invalid; the user may enter another one.
    Name,
}

/// An authenticated user.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The identifier of the user at the provider, which never changes and is never reassigned.
    pub subject: String,
    /// The current login name, which may change and be reassigned.
    pub login: String,
    /// The current display name.
    pub name: Option<String>,
    /// The user's token at the provider. It is stored if the access policy requires membership, and
    /// otherwise revoked at once.
    pub token: Option<Secret>,
}

impl Identity {
    /// Returns the identity on this server.
    pub fn user(&self, provider: &dyn IdentityProvider) -> UserId {
        UserId::new(format!("{}:{}", provider.id(), self.subject))
    }
}

/// The membership of a user in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Membership {
    /// An active member.
    Active,
    /// Invited, but not accepted yet.
    Pending,
    /// Neither a member nor invited.
    None,
    /// The group does not allow this server to query memberships.
    Denied,
    /// The user has revoked the token.
    TokenRevoked,
}

/// Why a request to a provider failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ProviderError {
    /// What happened, for the log and the audit log. It contains no secret and no unfiltered text
    /// of the provider.
    pub message: String,
    /// The cause.
    pub cause: Cause,
}

/// The cause of a [`ProviderError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// No usable response: a retry may succeed.
    Unavailable,
    /// The code is unknown, used or expired, or the provider refuses this user only.
    Rejected,
    /// The provider refuses this server. Contains advice for the operator.
    Misconfigured(&'static str),
    /// The provider's response cannot be used.
    Unusable,
}

impl ProviderError {
    /// Returns the outcome of a sign-in that ends with this error.
    pub fn outcome(&self) -> SignInOutcome {
        match self.cause {
            Cause::Unavailable | Cause::Unusable => SignInOutcome::ProviderFailed,
            Cause::Rejected => SignInOutcome::Rejected,
            Cause::Misconfigured(_) => SignInOutcome::Misconfigured,
        }
    }
}

/// What pages and messages say about the sign-in with a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Texts {
    /// The end of the sentence on the start page that begins with “The app opens your browser,
    /// and”.
    pub home: String,
    /// The sentence below the buttons of the consent page.
    pub consent: String,
    /// The button of the account page.
    pub button: String,
    /// How users sign in, in the banner that an embedded program prints.
    pub banner: String,
}

impl Texts {
    /// Returns the texts of a provider with its own sign-in page.
    pub fn of(label: &str, things: &str) -> Self {
        Self {
            home: format!("you sign in with {label}"),
            consent: format!(
                "After “Approve” you sign in with {label}, so that the app gets access to your \
                 {things} only."
            ),
            button: format!("Sign in with {label}"),
            banner: format!("with {label}"),
        }
    }
}

/// The deadline for a provider's responses.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// Starts a deadline of [`LOGIN_TIMEOUT`] from now.
    pub fn start() -> Self {
        Self(Instant::now() + LOGIN_TIMEOUT)
    }

    /// Returns the remaining time.
    pub fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}
