//! The access policy: a list of users, membership of an organization, and domains and groups in the
//! attributes of users. Without a rule, everyone with an account at the identity provider may sign
//! in.
//!
//! The policy fails closed. A login on the list only identifies an account initially: the first
//! successful sign-in with it pins it to the subject of the account, and from then on the subject
//! decides. So an account that takes over the login later gains nothing, and a user who changes
//! their login loses nothing.
//!
//! The policy is checked at sign-in, before a code is issued, and rechecked while a client stays
//! connected ([`recheck`]). The refresh of tokens decides how often, and for how long an old result
//! is valid.

use std::borrow::Cow;

use mcp::UserId;
use platform::{db::Failure, metrics};
use tracing::Instrument as _;

pub(crate) mod pins;
mod rules;

pub use self::rules::{AccessPolicy, Allowed, DenialReason};
use super::{
    provider::{
        Attributes, Deadline, Identity, IdentityProvider, Membership, ProviderError, Renewal,
    },
    upstream_token::{self, StoredToken, UpstreamToken},
    users,
};
use crate::server::Server;

/// The result of a recheck of a user who was admitted before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyDecision {
    /// The user is still admitted.
    Admitted,
    /// The user is refused.
    Denied(DenialReason),
    /// The provider or the database did not respond.
    Unknown,
    /// The user's token at the provider is encrypted with a key that this instance does not have:
    /// during a deploy that changes keys, or because an old key is no longer configured.
    Unreadable,
}

/// Why a user is not admitted.
#[derive(Debug)]
pub(crate) enum NotAdmitted {
    /// The policy refuses the user.
    Denied(DenialReason),
    /// The provider did not give a usable response.
    Provider(ProviderError),
    /// The database failed.
    Failure(Failure),
}

impl From<Failure> for NotAdmitted {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<DenialReason> for NotAdmitted {
    fn from(why: DenialReason) -> Self {
        Self::Denied(why)
    }
}

/// Checks the policy for a user who has just signed in, and pins their login if it is new.
pub(crate) async fn admit(
    server: &Server,
    provider: &dyn IdentityProvider,
    identity: &Identity,
    deadline: Deadline,
) -> Result<(), NotAdmitted> {
    let known = users::get(server.db(), &identity.user(provider)).await?;
    if known.is_some_and(|user| users::is_blocked(&user)) {
        return Err(DenialReason::Blocked.into());
    }
    let subject = &identity.subject;
    let listed_as = identity.listed_as.as_deref();
    let pin = match listed(server, provider, subject, listed_as).await {
        // The list may contain the user's e-mail address, which does not count.
        Err(NotAdmitted::Denied(DenialReason::NotListed))
            if listed_as.is_none() && provider.policy().listed_logins().next().is_some() =>
        {
            return Err(DenialReason::EmailNotVerified.into());
        }
        other => other?,
    };
    provider.policy().check_attributes(&identity.attributes)?;
    if let Some(org) = &provider.policy().org {
        let token = identity.token.as_ref().ok_or(DenialReason::SignInAgain)?;
        let membership = provider.membership(token, org, deadline).await;
        require_active(membership.map_err(NotAdmitted::Provider)?)?;
    }
    if let Pin::New(login) = pin {
        let now = server.clock().now();
        let holder = pins::keep(server.db(), provider.id(), &login, subject, now).await?;
        // Another account pinned the login concurrently.
        if holder != *subject {
            return Err(DenialReason::LoginRecycled.into());
        }
    }
    Ok(())
}

/// Checks the policy again for a user who was admitted before.
pub async fn recheck(server: &Server, user: &UserId) -> PolicyDecision {
    // Users of a provider are valid only while it is configured.
    let Some((provider, subject)) = server.provider_of(user) else {
        count_refusal(user, DenialReason::SignInAgain);
        return PolicyDecision::Denied(DenialReason::SignInAgain);
    };
    match check_again(server, provider, user, subject).await {
        Ok(decision) => decision,
        Err(NotAdmitted::Denied(why)) => {
            count_refusal(user, why);
            PolicyDecision::Denied(why)
        }
        Err(NotAdmitted::Provider(error)) => {
            tracing::warn!(
                user = user.as_str(),
                dependency = provider.id(),
                %error,
                "Could not recheck the access policy for {user}: the identity provider failed"
            );
            PolicyDecision::Unknown
        }
        Err(NotAdmitted::Failure(failure)) => {
            tracing::error!(
                user = user.as_str(), dependency = failure.dependency(), error = ?failure,
                "Could not recheck the access policy for {user}: the database failed"
            );
            PolicyDecision::Unknown
        }
    }
}

/// Counts and logs the refusal of a user who was admitted before.
pub(crate) fn count_refusal(user: &UserId, why: DenialReason) {
    metrics::OAUTH_GATE_REFUSALS.increment([why.as_str()]);
    tracing::info!(
        user = user.as_str(),
        why = why.as_str(),
        "The access policy no longer admits {user}"
    );
}

/// Returns whether the list of the user's provider still contains a user who was admitted before.
/// Queries only the database. `true` also if the provider is not configured: it has no list.
pub(crate) async fn is_listed(server: &Server, user: &UserId) -> Result<bool, Failure> {
    let Some((provider, subject)) = server.provider_of(user) else {
        return Ok(true);
    };
    match listed(server, provider, subject, None).await {
        Ok(_) => Ok(true),
        Err(NotAdmitted::Failure(failure)) => Err(failure),
        Err(NotAdmitted::Denied(_) | NotAdmitted::Provider(_)) => Ok(false),
    }
}

/// Returns whether the policy admits a user without any check, provided that the user is not
/// blocked.
pub(crate) fn is_open_to(server: &Server, user: &UserId) -> bool {
    server.provider_of(user).is_some_and(|(provider, _)| !provider.policy().is_set())
}

/// Returns the rules for a user that only the provider can answer
/// ([`AccessPolicy::remote_rules`]).
pub(crate) fn remote_rules_of<'a>(server: &'a Server, user: &UserId) -> Option<Cow<'a, str>> {
    server.provider_of(user).and_then(|(provider, _)| provider.policy().remote_rules())
}

async fn check_again(
    server: &Server,
    provider: &dyn IdentityProvider,
    user: &UserId,
    subject: &str,
) -> Result<PolicyDecision, NotAdmitted> {
    let known = match users::get(server.db(), user).await? {
        Some(known) if users::is_blocked(&known) => return Err(DenialReason::Blocked.into()),
        Some(known) => known,
        None => return Err(DenialReason::SignInAgain.into()),
    };
    // The login is not checked: it may have passed to another account since the sign-in.
    listed(server, provider, subject, None).await?;
    let policy = provider.policy();
    let Some(rules) = policy.remote_rules() else {
        return Ok(PolicyDecision::Admitted);
    };
    let token = match upstream_token::get(server, user).await? {
        StoredToken::Token(token) => token,
        // The provider gives no token for later checks, so its answer at the sign-in remains valid
        // while the rules are the same.
        StoredToken::Missing
            if policy.org.is_none() && known.gate_org.as_deref() == Some(&*rules) =>
        {
            return Ok(PolicyDecision::Admitted);
        }
        StoredToken::Missing | StoredToken::Damaged => {
            return Err(DenialReason::SignInAgain.into());
        }
        StoredToken::Unreadable => return Ok(PolicyDecision::Unreadable),
    };
    if let Some(org) = &policy.org {
        let membership = provider.membership(&token.secret, org, Deadline::start()).await;
        require_active(membership.map_err(NotAdmitted::Provider)?)?;
    }
    if policy.has_attribute_rules() {
        let attributes = renew(server, user, token).await?;
        policy.check_attributes(&attributes)?;
    }
    Ok(PolicyDecision::Admitted)
}

/// Gets the current attributes of a user from the provider, and stores the token that replaces the
/// stored one, if the provider issues one.
///
/// The stored token may be invalid as soon as the provider has received it, so this continues when the
/// caller is dropped, as happens when a client closes its connection.
async fn renew(
    server: &Server,
    user: &UserId,
    stored: UpstreamToken,
) -> Result<Attributes, NotAdmitted> {
    let (server, user) = (server.clone(), user.clone());
    let renewal = async move {
        let Some((provider, subject)) = server.provider_of(&user) else {
            return Err(DenialReason::SignInAgain.into());
        };
        let now = server.clock().now();
        let renewal = provider.renew(&stored.secret, subject, now, Deadline::start()).await;
        match renewal.map_err(NotAdmitted::Provider)? {
            Renewal::Ended => Err(DenialReason::SignInAgain.into()),
            Renewal::Active { attributes, token } => {
                if let Some(token) = token {
                    upstream_token::replace(&server, &user, stored.sealed, &token).await?;
                }
                attributes.map_err(NotAdmitted::Provider)
            }
        }
    };
    tokio::spawn(renewal.in_current_span()).await.map_err(|error| {
        NotAdmitted::Failure(Failure::Internal(anyhow::Error::new(error).context("renewal")))
    })?
}

/// Checks that a membership is active.
fn require_active(membership: Membership) -> Result<(), DenialReason> {
    match membership {
        Membership::Active => Ok(()),
        Membership::Pending => Err(DenialReason::MembershipPending),
        Membership::None => Err(DenialReason::NotAMember),
        Membership::Denied => Err(DenialReason::OrgRefuses),
        Membership::TokenRevoked => Err(DenialReason::SignInAgain),
    }
}

/// The change to the pinned logins that a sign-in requires.
enum Pin {
    /// No change: there is no list, or the account's subject is on it or pinned.
    Settled,
    /// The login is on the list, and is not pinned yet.
    New(String),
}

/// Checks that a user is on the list, if there is one.
async fn listed(
    server: &Server,
    provider: &dyn IdentityProvider,
    subject: &str,
    login: Option<&str>,
) -> Result<Pin, NotAdmitted> {
    let (policy, id) = (provider.policy(), provider.id());
    if policy.logins.is_empty() || policy.listed_subjects().any(|it| it == subject) {
        return Ok(Pin::Settled);
    }
    let pinned = pins::keys_of(server.db(), id, subject).await?;
    if policy.listed_logins().any(|listed| pinned.contains(&pins::key(id, listed))) {
        return Ok(Pin::Settled);
    }
    let login = login.map(str::to_ascii_lowercase);
    let Some(login) = login.filter(|login| policy.listed_logins().any(|it| it == login)) else {
        return Err(DenialReason::NotListed.into());
    };
    match pins::subject_of(server.db(), id, &login).await? {
        None => Ok(Pin::New(login)),
        Some(_another) => Err(DenialReason::LoginRecycled.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_active_members_are_admitted() {
        assert_eq!(require_active(Membership::Active), Ok(()));
        for (membership, why) in [
            (Membership::Pending, DenialReason::MembershipPending),
            (Membership::None, DenialReason::NotAMember),
            (Membership::Denied, DenialReason::OrgRefuses),
            (Membership::TokenRevoked, DenialReason::SignInAgain),
        ] {
            assert_eq!(require_active(membership), Err(why));
            let rules = AccessPolicy { org: Some("octo-org".into()), ..AccessPolicy::default() };
            assert!(!why.sentence(&rules, "GitHub").is_empty());
        }
    }
}
