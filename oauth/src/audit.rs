//! The audit log: every sign-in, consent, refusal, token, revocation, replay and change of the gate,
//! as a row of `oauth_audit` and as one log line. Neither ever holds a secret.
//!
//! A row is written in the transaction of the change that it tells of ([`write()`]), and the line
//! ([`Event::log`]) once that is committed, so that neither tells of what did not happen. What
//! changes nothing in the database is told by [`record`](crate::record::record).

use std::{
    borrow::Cow,
    fmt,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, OnceLock},
};

use chrono::{DateTime, Utc};
use entity::{
    AuditId, ClientId, GrantId,
    oauth_audit::{ActiveModel, Entity},
};
use mcp::UserId;
use platform::db::Failure;
use platform::metrics;
use sea_orm::{ConnectionTrait, EntityTrait as _, Set};
use sha2::{Digest as _, Sha256};

use super::ids::uuid_at;

/// Characters of a detail that are kept. Ours are short; what quotes others may not be.
const MAX_DETAIL: usize = 300;

/// Characters of a request id that are kept. It may come from outside.
const MAX_REQUEST_ID: usize = 128;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A client registered itself.
    ClientRegistered,
    /// A person agreed to what a client asks for.
    ConsentGiven,
    /// A person said no.
    ConsentDenied,
    /// A person signed in, and may come in.
    SignedIn,
    /// A person signed in, and may not come in.
    SignInRefused,
    /// Somebody signed in under a login that belongs to another account.
    LoginRecycled,
    /// GitHub gave an answer that cannot be used.
    SignInFailed,
    /// A code was issued.
    CodeIssued,
    /// A code was given up after too many wrong verifiers.
    CodeGuessed,
    /// A code was redeemed: there is a grant, and its first tokens.
    TokenIssued,
    /// A refresh token was exchanged.
    TokenRefreshed,
    /// A refresh token whose successor was lost was given another one.
    RefreshRecovered,
    /// A code was presented again, and its grant revoked.
    CodeReplayed,
    /// A refresh token was presented again, and its grant revoked.
    RefreshReplayed,
    /// A grant was revoked, because somebody wanted that.
    GrantRevoked,
    /// A person who had signed in may no longer come in: all their grants were revoked.
    GateClosed,
    /// A person was shut out by an operator.
    UserBlocked,
    /// A person was let in again by an operator.
    UserUnblocked,
    /// A person deleted their account.
    AccountDeleted,
    /// A signing key was made.
    KeyCreated,
    /// Somebody asked for new signing keys.
    KeyRotationRequested,
    /// A signing key took over.
    KeyActivated,
    /// A signing key is no longer trusted, since all it signed has expired.
    KeyRetired,
    /// A signing key is no longer trusted, since somebody said so.
    KeyRevoked,
}

impl Kind {
    /// Every one.
    pub const ALL: [Self; 24] = [
        Self::ClientRegistered,
        Self::ConsentGiven,
        Self::ConsentDenied,
        Self::SignedIn,
        Self::SignInRefused,
        Self::LoginRecycled,
        Self::SignInFailed,
        Self::CodeIssued,
        Self::CodeGuessed,
        Self::TokenIssued,
        Self::TokenRefreshed,
        Self::RefreshRecovered,
        Self::CodeReplayed,
        Self::RefreshReplayed,
        Self::GrantRevoked,
        Self::GateClosed,
        Self::UserBlocked,
        Self::UserUnblocked,
        Self::AccountDeleted,
        Self::KeyCreated,
        Self::KeyRotationRequested,
        Self::KeyActivated,
        Self::KeyRetired,
        Self::KeyRevoked,
    ];

    /// The word in the row.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClientRegistered => "client_registered",
            Self::ConsentGiven => "consent_given",
            Self::ConsentDenied => "consent_denied",
            Self::SignedIn => "signed_in",
            Self::SignInRefused => "sign_in_refused",
            Self::LoginRecycled => "login_recycled",
            Self::SignInFailed => "sign_in_failed",
            Self::CodeIssued => "code_issued",
            Self::CodeGuessed => "code_guessed",
            Self::TokenIssued => "token_issued",
            Self::TokenRefreshed => "token_refreshed",
            Self::RefreshRecovered => "refresh_recovered",
            Self::CodeReplayed => "code_replayed",
            Self::RefreshReplayed => "refresh_replayed",
            Self::GrantRevoked => "grant_revoked",
            Self::GateClosed => "gate_closed",
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

    /// Whether somebody should look into it: a stolen secret would look like this.
    pub fn is_alarming(self) -> bool {
        matches!(
            self,
            Self::LoginRecycled | Self::CodeGuessed | Self::CodeReplayed | Self::RefreshReplayed
        )
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where a request came from, as far as it is remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestInfo {
    /// Its id, as it stands in the log and on error pages; empty if there is no request.
    pub id: String,
    /// The address of the client, as far as our proxies can be believed.
    pub address: Option<IpAddr>,
    /// The hash of its `User-Agent`.
    pub user_agent_hash: Option<[u8; 32]>,
    /// Whom it turns out to be about.
    pub parties: Parties,
}

impl RequestInfo {
    /// What is remembered of a request.
    pub fn new(id: impl Into<String>, address: Option<IpAddr>, user_agent: Option<&str>) -> Self {
        Self {
            id: id.into(),
            address,
            user_agent_hash: user_agent.map(|it| Sha256::digest(it.as_bytes()).into()),
            parties: Parties::default(),
        }
    }

    /// The same, and what is found out about it is told here.
    #[must_use]
    pub fn with_parties(self, parties: Parties) -> Self {
        Self { parties, ..self }
    }

    /// What no request caused: a schedule, or a person at a terminal.
    pub fn none() -> Self {
        Self::default()
    }

    /// The address as it is kept: an IPv4 address, or the /64 of an IPv6 address, which is what one
    /// customer has.
    pub fn network(&self) -> Option<String> {
        self.address.map(network)
    }
}

fn network(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let network = Ipv6Addr::from(u128::from(address) & (u128::MAX << 64));
            format!("{network}/64")
        }
    }
}

/// Whom a request is about: nobody is known at first, and whoever finds out says so. It is read for
/// the request's line in the log. Clones share what they know, and what was said first stays.
///
/// Neither is proved by standing here: a line whose status is a refusal names who was claimed to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parties(Arc<Known>);

#[derive(Debug, Default, PartialEq, Eq)]
struct Known {
    user: OnceLock<Box<str>>,
    client: OnceLock<Box<str>>,
}

impl Parties {
    /// It is about this person.
    pub fn set_user(&self, user: &str) {
        self.0.user.get_or_init(|| user.into());
    }

    /// It is by this client, or for it.
    pub fn set_client(&self, client: &str) {
        self.0.client.get_or_init(|| client.into());
    }

    /// The person, such as `github:1234567`.
    pub fn user(&self) -> Option<&str> {
        self.0.user.get().map(|it| &**it)
    }

    /// The `client_id`.
    pub fn client(&self) -> Option<&str> {
        self.0.client.get().map(|it| &**it)
    }
}

/// Something that happened.
#[derive(Clone, Debug)]
pub struct Event {
    /// What.
    pub kind: Kind,
    /// To whom.
    pub user: Option<UserId>,
    /// Through which client.
    pub client: Option<ClientId>,
    /// With which grant.
    pub grant: Option<GrantId>,
    /// More about it, in words. Never a secret.
    pub detail: Option<Cow<'static, str>>,
    /// By which request.
    pub request: RequestInfo,
}

impl Event {
    /// Something that happened in a request.
    pub fn new(kind: Kind, request: &RequestInfo) -> Self {
        Self { kind, user: None, client: None, grant: None, detail: None, request: request.clone() }
    }

    /// To this person.
    #[must_use]
    pub fn user(mut self, user: &UserId) -> Self {
        self.user = Some(user.clone());
        self
    }

    /// Through this client.
    #[must_use]
    pub fn client(mut self, client: &ClientId) -> Self {
        self.client = Some(client.clone());
        self
    }

    /// With this grant.
    #[must_use]
    pub fn grant(mut self, grant: GrantId) -> Self {
        self.grant = Some(grant);
        self
    }

    /// More about it. What somebody sent belongs here only if it is no secret.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Writes the log line, and counts.
    pub fn log(&self) {
        metrics::OAUTH_EVENTS.count([self.kind.as_str()]);
        let grant = self.grant.map(|it| it.to_string());
        let network = self.request.network();
        // The macro wants the level to be a constant.
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

/// Writes the row, in the transaction of what it tells of. [`Event::log`] follows the commit.
pub async fn write(
    db: &impl ConnectionTrait,
    now: DateTime<Utc>,
    event: &Event,
) -> Result<(), Failure> {
    let request_id = (!event.request.id.is_empty()).then(|| cut(&event.request.id, MAX_REQUEST_ID));
    let row = ActiveModel {
        id: Set(AuditId(uuid_at(now))),
        at: Set(now),
        event: Set(event.kind.as_str().to_owned()),
        user_sub: Set(event.user.as_ref().map(|it| it.as_str().to_owned())),
        client_id: Set(event.client.clone()),
        grant_id: Set(event.grant),
        detail: Set(event.detail.as_deref().map(|it| cut(it, MAX_DETAIL))),
        request_id: Set(request_id),
        ip: Set(event.request.network()),
        user_agent_hash: Set(event.request.user_agent_hash.map(|it| it.to_vec())),
    };
    Entity::insert(row).exec_without_returning(db).await?;
    Ok(())
}

/// The beginning of a text, without what a database or a terminal would trip over.
fn cut(text: &str, chars: usize) -> String {
    text.chars().filter(|it| !it.is_control()).take(chars).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_kept_as_the_network_of_one_customer() {
        for (address, kept) in [
            ("203.0.113.7", "203.0.113.7"),
            ("::ffff:203.0.113.7", "203.0.113.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            ("2001:db8::1", "2001:db8::/64"),
            ("::1", "::/64"),
        ] {
            let request = RequestInfo::new("an-id", Some(address.parse().unwrap()), None);
            assert_eq!(request.network().as_deref(), Some(kept), "{address}");
        }
        assert_eq!(RequestInfo::none().network(), None);
    }

    #[test]
    fn a_user_agent_is_kept_as_a_hash() {
        let hash = |agent| RequestInfo::new("", None, agent).user_agent_hash;
        assert_eq!(hash(None), None);
        assert_ne!(hash(Some("one")), hash(Some("two")));
        assert_eq!(hash(Some("one")), hash(Some("one")));
    }

    #[test]
    fn what_is_kept_of_a_text_is_short_and_plain() {
        assert_eq!(cut("a\nb\0c\u{1b}[31md", 10), "abc[31md");
        assert_eq!(cut(&"é".repeat(1000), 300).chars().count(), 300);
    }
}
