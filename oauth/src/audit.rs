//! The audit log: every sign-in, consent, refusal, token, revocation, replay and changed decision
//! of the access policy, as a row of `oauth_audit` and as one log line. Neither ever contains a
//! secret.
//!
//! A row is written in the transaction of the change that it records ([`write()`]), and the log
//! line ([`Event::log`]) after the commit, so that neither records something that did not happen.
//! Events that change nothing else in the database are recorded by
//! [`record`](crate::record::record).

use std::{
    borrow::Cow,
    fmt,
    net::IpAddr,
    sync::{Arc, OnceLock},
};

use chrono::{DateTime, Utc};
use entity::{
    AuditId, ClientId, GrantId,
    oauth_audit::{ActiveModel, Entity},
};
use mcp::UserId;
use platform::{client_network, db::Failure, metrics};
use sea_orm::{ConnectionTrait, EntityTrait as _, Set};
use sha2::{Digest as _, Sha256};

use super::{dpop::Thumbprint, ids::uuid_at, scope::Scopes};

/// The maximum length of a detail, in characters. Details from this server are shorter; quoted
/// input may not be.
const MAX_DETAIL: usize = 300;

/// The maximum length of a request id, in characters. It may come from outside.
const MAX_REQUEST_ID: usize = 128;

/// The kind of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A client registered dynamically.
    ClientRegistered,
    /// An operator created a service client.
    ClientCreated,
    /// An operator revoked a service client.
    ClientRevoked,
    /// A user approved an authorization request.
    ConsentGiven,
    /// A user denied an authorization request.
    ConsentDenied,
    /// A user signed in and was admitted.
    SignedIn,
    /// A user signed in and was refused.
    SignInRefused,
    /// A user signed in with a login that is pinned to another account.
    LoginRecycled,
    /// A login failed because of the identity provider's response.
    SignInFailed,
    /// A code was issued.
    CodeIssued,
    /// A code was deleted after too many wrong verifiers.
    CodeGuessed,
    /// A code or client credentials created a grant, and its first tokens were issued.
    TokenIssued,
    /// The assertion of an identity provider created a grant, and its first token was issued.
    AssertionAccepted,
    /// A further token of a grant was issued: for a refresh token, client credentials or an assertion.
    TokenRefreshed,
    /// An assertion was presented again, and refused.
    AssertionReplayed,
    /// A refresh token whose successor was lost got a new successor.
    RefreshRecovered,
    /// A refresh bound a grant to a key, or to another key.
    GrantBound,
    /// A code was presented again, and its grant revoked.
    CodeReplayed,
    /// A refresh token was presented again, and its grant revoked.
    RefreshReplayed,
    /// A grant was revoked on request.
    GrantRevoked,
    /// The access policy no longer admits a user: all their grants were revoked.
    PolicyDenied,
    /// An operator blocked a user.
    UserBlocked,
    /// An operator unblocked a user.
    UserUnblocked,
    /// A user deleted their account.
    AccountDeleted,
    /// A signing key was created.
    KeyCreated,
    /// A rotation of the signing keys was requested.
    KeyRotationRequested,
    /// A signing key became active.
    KeyActivated,
    /// A signing key was retired, because all tokens that it signed have expired.
    KeyRetired,
    /// A signing key was revoked.
    KeyRevoked,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 29] = [
        Self::ClientRegistered,
        Self::ClientCreated,
        Self::ClientRevoked,
        Self::ConsentGiven,
        Self::ConsentDenied,
        Self::SignedIn,
        Self::SignInRefused,
        Self::LoginRecycled,
        Self::SignInFailed,
        Self::CodeIssued,
        Self::CodeGuessed,
        Self::TokenIssued,
        Self::AssertionAccepted,
        Self::TokenRefreshed,
        Self::AssertionReplayed,
        Self::RefreshRecovered,
        Self::GrantBound,
        Self::CodeReplayed,
        Self::RefreshReplayed,
        Self::GrantRevoked,
        Self::PolicyDenied,
        Self::UserBlocked,
        Self::UserUnblocked,
        Self::AccountDeleted,
        Self::KeyCreated,
        Self::KeyRotationRequested,
        Self::KeyActivated,
        Self::KeyRetired,
        Self::KeyRevoked,
    ];

    /// Returns the word that the database stores.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClientRegistered => "client_registered",
            Self::ClientCreated => "client_created",
            Self::ClientRevoked => "client_revoked",
            Self::ConsentGiven => "consent_given",
            Self::ConsentDenied => "consent_denied",
            Self::SignedIn => "signed_in",
            Self::SignInRefused => "sign_in_refused",
            Self::LoginRecycled => "login_recycled",
            Self::SignInFailed => "sign_in_failed",
            Self::CodeIssued => "code_issued",
            Self::CodeGuessed => "code_guessed",
            Self::TokenIssued => "token_issued",
            Self::AssertionAccepted => "assertion_accepted",
            Self::TokenRefreshed => "token_refreshed",
            Self::AssertionReplayed => "assertion_replayed",
            Self::RefreshRecovered => "refresh_recovered",
            Self::GrantBound => "grant_bound",
            Self::CodeReplayed => "code_replayed",
            Self::RefreshReplayed => "refresh_replayed",
            Self::GrantRevoked => "grant_revoked",
            Self::PolicyDenied => "gate_closed",
            Self::UserBlocked => "user_blocked",
            Self::UserUnblocked => "user_unblocked",
            Self::AccountDeleted => "account_deleted",
            Self::KeyCreated => "key_created",
            Self::KeyRotationRequested => "key_rotation_requested",
            Self::KeyActivated => "key_activated",
            Self::KeyRetired => "key_retired",
            Self::KeyRevoked => "key_revoked",
        }
    }

    /// Returns whether an operator should investigate: the event can indicate a stolen secret.
    pub fn is_alarming(self) -> bool {
        matches!(
            self,
            Self::LoginRecycled
                | Self::CodeGuessed
                | Self::CodeReplayed
                | Self::RefreshReplayed
                | Self::AssertionReplayed
        )
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the detail of an event about issued tokens says after the scope, if they are bound to a key.
const BOUND_TO_KEY: &str = ", bound to key ";

/// Returns the detail of an event about issued tokens: their scope, and the key that they are bound
/// to.
pub(super) fn issued(scope: &Scopes, dpop_key: Option<&Thumbprint>) -> String {
    match dpop_key {
        None => scope.to_string(),
        Some(key) => format!("{scope}{BOUND_TO_KEY}{key}"),
    }
}

/// Returns whether the detail of an event about issued tokens says that they are bound to a key. A
/// scope contains no comma.
pub(super) fn says_bound(detail: &str) -> bool {
    detail.contains(BOUND_TO_KEY)
}

/// The origin of a request, as far as it is recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestInfo {
    /// The request id, as in the log and on error pages. Empty if there is no request.
    pub id: String,
    /// The address of the client, as reported by trusted proxies.
    pub address: Option<IpAddr>,
    /// The hash of its `User-Agent`.
    pub user_agent_hash: Option<[u8; 32]>,
    /// The user and client that the request is about, filled in during the request.
    pub log_context: LogContext,
}

impl RequestInfo {
    /// Creates the origin of a request.
    pub fn new(id: impl Into<String>, address: Option<IpAddr>, user_agent: Option<&str>) -> Self {
        Self {
            id: id.into(),
            address,
            user_agent_hash: user_agent.map(|it| Sha256::digest(it.as_bytes()).into()),
            log_context: LogContext::default(),
        }
    }

    /// Replaces the log context that the user and client are added to.
    #[must_use]
    pub fn with_log_context(self, log_context: LogContext) -> Self {
        Self { log_context, ..self }
    }

    /// Returns the origin of events without a request: from a schedule, or from the command line.
    pub fn none() -> Self {
        Self::default()
    }

    /// Returns the address as it is stored: an IPv4 address, or the /64 of an IPv6 address, which
    /// is typically assigned to one customer.
    pub fn network(&self) -> Option<String> {
        self.address.map(client_network)
    }
}

/// The log context of a request: the user and client that it is about. Both are unknown at first,
/// and are set as the request is processed; the first value stays. It is read for the request's
/// line in the log. Clones share their state.
///
/// The values are not necessarily authenticated: in the line of a refused request, they name the
/// claimed user and client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogContext(Arc<Known>);

#[derive(Debug, Default, PartialEq, Eq)]
struct Known {
    user: OnceLock<Box<str>>,
    client: OnceLock<Box<str>>,
}

impl LogContext {
    /// Sets the user, unless it is set.
    pub fn set_user(&self, user: &str) {
        self.0.user.get_or_init(|| user.into());
    }

    /// Sets the client, unless it is set.
    pub fn set_client(&self, client: &str) {
        self.0.client.get_or_init(|| client.into());
    }

    /// Returns the user, such as `dev:ada`, or `None` if it is unknown.
    pub fn user(&self) -> Option<&str> {
        self.0.user.get().map(|it| &**it)
    }

    /// Returns the `client_id`, or `None` if it is unknown.
    pub fn client(&self) -> Option<&str> {
        self.0.client.get().map(|it| &**it)
    }
}

/// An event of the audit log.
#[derive(Clone, Debug)]
pub struct Event {
    /// The kind of the event.
    pub kind: Kind,
    /// The affected user.
    pub user: Option<UserId>,
    /// The client.
    pub client: Option<ClientId>,
    /// The grant.
    pub grant: Option<GrantId>,
    /// Details, in words. Never a secret.
    pub detail: Option<Cow<'static, str>>,
    /// The origin of the request that caused it.
    pub request: RequestInfo,
}

impl Event {
    /// Creates an event of a request.
    pub fn new(kind: Kind, request: &RequestInfo) -> Self {
        Self { kind, user: None, client: None, grant: None, detail: None, request: request.clone() }
    }

    /// Sets the user.
    #[must_use]
    pub fn user(mut self, user: &UserId) -> Self {
        self.user = Some(user.clone());
        self
    }

    /// Sets the client.
    #[must_use]
    pub fn client(mut self, client: &ClientId) -> Self {
        self.client = Some(client.clone());
        self
    }

    /// Sets the grant.
    #[must_use]
    pub fn grant(mut self, grant: GrantId) -> Self {
        self.grant = Some(grant);
        self
    }

    /// Sets the details. They may contain input only if it is no secret.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Writes the log line, and counts the event.
    pub fn log(&self) {
        metrics::OAUTH_EVENTS.increment([self.kind.as_str()]);
        let grant = self.grant.map(|it| it.to_string());
        let network = self.request.network();
        // The macro requires a constant level.
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    audit = self.kind.as_str(),
                    user = self.user.as_ref().map(UserId::as_str),
                    client = self.client.as_ref().map(ClientId::as_str),
                    grant = grant.as_deref(),
                    detail = self.detail.as_deref(),
                    request_id = (!self.request.id.is_empty()).then_some(&*self.request.id),
                    ip = network.as_deref(),
                    "Audit: {}",
                    self.kind
                )
            };
        }
        if self.kind.is_alarming() {
            line!(warn);
        } else {
            line!(info);
        }
    }
}

/// Writes the row, in the transaction of the change that it records. Call [`Event::log`] after the
/// commit.
pub async fn write(
    db: &impl ConnectionTrait,
    now: DateTime<Utc>,
    event: &Event,
) -> Result<(), Failure> {
    let request_id =
        (!event.request.id.is_empty()).then(|| truncate(&event.request.id, MAX_REQUEST_ID));
    let row = ActiveModel {
        id: Set(AuditId(uuid_at(now))),
        at: Set(now),
        event: Set(event.kind.as_str().to_owned()),
        user_sub: Set(event.user.as_ref().map(|it| it.as_str().to_owned())),
        client_id: Set(event.client.clone()),
        grant_id: Set(event.grant),
        detail: Set(event.detail.as_deref().map(|it| truncate(it, MAX_DETAIL))),
        request_id: Set(request_id),
        ip: Set(event.request.network()),
        user_agent_hash: Set(event.request.user_agent_hash.map(|it| it.to_vec())),
    };
    Entity::insert(row).exec_without_returning(db).await?;
    Ok(())
}

/// Removes the control characters of a text, and truncates it to `chars` characters.
fn truncate(text: &str, chars: usize) -> String {
    text.chars().filter(|it| !it.is_control()).take(chars).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_stored_as_a_network() {
        for (address, stored) in [
            ("203.0.113.7", "203.0.113.7"),
            ("::ffff:203.0.113.7", "203.0.113.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            ("2001:db8::1", "2001:db8::/64"),
            ("::1", "::/64"),
        ] {
            let request = RequestInfo::new("an-id", Some(address.parse().unwrap()), None);
            assert_eq!(request.network().as_deref(), Some(stored), "{address}");
        }
        assert_eq!(RequestInfo::none().network(), None);
    }

    #[test]
    fn a_user_agent_is_stored_as_a_hash() {
        let hash = |agent| RequestInfo::new("", None, agent).user_agent_hash;
        assert_eq!(hash(None), None);
        assert_ne!(hash(Some("one")), hash(Some("two")));
        assert_eq!(hash(Some("one")), hash(Some("one")));
    }

    #[test]
    fn a_stored_text_is_truncated_and_has_no_control_characters() {
        assert_eq!(truncate("a\nb\0c\u{1b}[31md", 10), "abc[31md");
        assert_eq!(truncate(&"é".repeat(1000), 300).chars().count(), 300);
    }
}
