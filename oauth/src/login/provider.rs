//! The trait of identity providers.
//!
//! A provider authenticates users; everything around it is the same for all of them: the pending
//! login and its binding to the browser, the access policy, the user's row, the audit log, and the
//! code or session that the login is for.

use std::{fmt, sync::LazyLock, time::Duration};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use mcp::UserId;
use platform::secret::Secret;
use serde_json::{Map, Value};
use tokio::time::Instant;

pub use super::attributes::Attributes;
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
    /// lower-case letters and digits only, differs from those of all other providers, and never
    /// changes.
    fn id(&self) -> &str;

    /// Returns the name of the provider on pages and in messages.
    fn label(&self) -> &str;

    /// Returns the path to which the provider redirects: `/oauth/<id>/callback`. `None`: it does
    /// not redirect, and users enter their name on a page of this server
    /// ([`Destination::NamePage`]).
    fn callback_path(&self) -> Option<&str>;

    /// Returns the kind of the records of pending logins, part of their keys. It differs from those
    /// of all other records, so that a login can be finished only by the provider that it was
    /// started at.
    fn record_kind(&self) -> &str {
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

    /// Prepares for logins when an instance starts: loads and checks what the provider says about
    /// itself. A login does the same if this has failed. [`Cause::Unavailable`]: a later attempt
    /// may succeed; any other cause is a mistake in the configuration.
    async fn prepare(&self, _deadline: Deadline) -> Result<(), ProviderError> {
        Ok(())
    }

    /// Starts a login: returns where the browser is sent. Changes nothing at the provider, so that
    /// the login may be abandoned. The provider has to return `state` unchanged. `verifier` is the
    /// PKCE verifier of the login, which is also passed to [`finish`](Self::finish).
    async fn start(
        &self,
        state: &str,
        verifier: &Verifier,
        deadline: Deadline,
    ) -> Result<Destination, ProviderError>;

    /// Reads the parameters of a callback, without IO. They are not trusted: anyone can send them.
    fn read_callback(
        &self,
        parameters: &[(String, String)],
    ) -> Result<CallbackResult, InvalidCallback>;

    /// Returns whether every callback must have the parameter `iss` ([`ISSUER_PARAMETER`]). If a
    /// callback has it, [`read_callback`](Self::read_callback) checks its value.
    async fn requires_issuer(&self, _deadline: Deadline) -> Result<bool, ProviderError> {
        Ok(false)
    }

    /// Finishes a login with the code of a callback: returns the identity of the user.
    async fn finish(&self, exchange: CodeExchange<'_>) -> Result<Identity, ProviderError>;

    /// Returns the issuer whose identity assertions (ID-JAG) are accepted. `None`: this provider issues
    /// none, or they are not accepted.
    fn assertion_issuer(&self) -> Option<&str> {
        None
    }

    /// Verifies the signature of an identity assertion (ID-JAG) of this provider. What its claims say
    /// about this server, the client and the time is up to the caller. Called only if
    /// [`assertion_issuer`](Self::assertion_issuer) is the issuer that the assertion names.
    async fn verify_assertion(
        &self,
        _assertion: &str,
        _deadline: Deadline,
    ) -> Result<VerifiedAssertion, AssertionError> {
        Err(AssertionError::Invalid("its issuer is not trusted"))
    }

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

    /// Gets the current attributes of a user with the token that was stored at the sign-in. Called
    /// only if the access policy has rules about attributes. `subject` is the user, and `now` the
    /// current time.
    async fn renew(
        &self,
        _token: &Secret,
        _subject: &str,
        _now: DateTime<Utc>,
        _deadline: Deadline,
    ) -> Result<Renewal, ProviderError> {
        let message = format!("{} does not support queries of attributes", self.label());
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

/// The parameter of a callback that names the provider (RFC 9207).
pub const ISSUER_PARAMETER: &str = "iss";

/// The exchange of a code for the identity of a user.
#[derive(Clone, Copy)]
pub struct CodeExchange<'a> {
    /// The code of the callback.
    pub code: &'a str,
    /// The PKCE verifier of the login.
    pub verifier: &'a str,
    /// The current time.
    pub now: DateTime<Utc>,
    /// The deadline for all requests to the provider.
    pub deadline: Deadline,
}

impl fmt::Debug for CodeExchange<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CodeExchange").field("now", &self.now).finish_non_exhaustive()
    }
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

impl CallbackResult {
    /// Reads an authorization response (RFC 6749, sections 4.1.2 and 4.1.2.1): exactly one `code` or
    /// `error`, once. Codes are at most `max_code_bytes` long. `refused` maps an error other than
    /// `access_denied`.
    pub(super) fn read(
        parameters: &[(String, String)],
        max_code_bytes: usize,
        refused: impl FnOnce(&str) -> ProviderError,
    ) -> Result<Self, InvalidCallback> {
        let mut results = parameters.iter().filter_map(|(name, value)| match name.as_str() {
            "code" => Some(Ok(value.as_str())),
            "error" => Some(Err(value.as_str())),
            _ => None,
        });
        let is_plausible = |code: &str| {
            (1..=max_code_bytes).contains(&code.len())
                && code.bytes().all(|byte| byte.is_ascii_graphic())
        };
        match (results.next(), results.next()) {
            (Some(Ok(code)), None) if is_plausible(code) => Ok(Self::Code(code.to_owned())),
            (Some(Err("access_denied")), None) => Ok(Self::Canceled),
            (Some(Err(error)), None) if !error.is_empty() => Ok(Self::Error(refused(error))),
            _ => Err(InvalidCallback::Malformed),
        }
    }
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
    /// The current login name, which may change and be reassigned. Only displayed.
    pub login: String,
    /// The name by which the list of allowed users may contain the user: at this moment, only this
    /// user has it at the provider. `None`: only by subject.
    pub listed_as: Option<String>,
    /// The current display name.
    pub name: Option<String>,
    /// The attributes that the access policy may require.
    pub attributes: Attributes,
    /// The user's token at the provider. It is stored if the access policy is checked again with
    /// it, and otherwise revoked at once.
    pub token: Option<Secret>,
}

/// An identity assertion whose signature is valid.
#[derive(Clone, Debug)]
pub struct VerifiedAssertion {
    /// All claims.
    pub claims: Map<String, Value>,
    /// The user, as far as the claims describe the user.
    pub identity: Identity,
    /// The claims that the access policy needs to decide about the user, and that are missing.
    pub missing: Vec<String>,
}

/// Why an identity assertion could not be verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AssertionError {
    /// It is not valid; contains the reason, as the rest of a sentence about the assertion.
    Invalid(&'static str),
    /// The provider did not give a usable response, such as its keys.
    Provider(ProviderError),
}

/// The result of [`IdentityProvider::renew`].
#[derive(Clone, Debug)]
pub enum Renewal {
    /// The user may still sign in at the provider.
    Active {
        /// The current attributes. An error: the provider renewed the token, but did not describe the
        /// user.
        attributes: Result<Attributes, ProviderError>,
        /// The token that replaces the stored one, which is no longer valid. `None`: it stays. To be
        /// stored even if the attributes are an error.
        token: Option<Secret>,
    },
    /// The stored token is no longer valid: the user's session at the provider has ended, or the
    /// account was disabled.
    Ended,
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

    /// Returns the earlier of this deadline and that of `limit` from now.
    #[must_use]
    pub fn at_most(self, limit: Duration) -> Self {
        Self(self.0.min(Instant::now() + limit))
    }

    /// Returns the remaining time.
    pub fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}
