//! The access policy: a list of users, membership of an organization, or both. Without a rule,
//! everyone with a GitHub account may sign in.
//!
//! The policy fails closed. A login on the list only identifies an account initially: the first
//! successful sign-in with it pins it to the number of the account, and from then on the number
//! decides. So an account that takes over the login later gains nothing, and a user who changes
//! their login loses nothing.
//!
//! The policy is checked at sign-in, before a code is issued, and rechecked while a client stays
//! connected ([`recheck`]). The refresh of tokens decides how often, and for how long an old result
//! is valid.

use chrono::{DateTime, Utc};
use entity::login_pins::{ActiveModel, COLUMN, Column, Entity};
use mcp::UserId;
use platform::{db::Failure, metrics, secret::Secret};
use sea_orm::{ConnectionTrait, EntityTrait as _, QueryFilter as _, Set, sea_query::OnConflict};

mod rules;

pub use self::rules::{Allowed, Closed, EVERYBODY, Rules, names_no_one, parse_logins, parse_org};
use crate::{
    github::{Account, Deadline, GITHUB, GitHubError, Membership},
    kept_token::{self, KeptToken},
    sign_in_with::{self, SignInWith},
};
use crate::{server::Server, users};

/// The result of a recheck of a user who was admitted before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateAnswer {
    /// The user is still admitted.
    Open,
    /// The user is refused.
    Closed(Closed),
    /// GitHub or the database did not respond.
    Unknown,
    /// The user's GitHub token is encrypted with a key that this instance does not have: during a
    /// deploy that changes keys, or because an old key is no longer configured.
    Unreadable,
}

/// Why a user who has just signed in is not admitted.
#[derive(Debug)]
pub(crate) enum NotAdmitted {
    /// The policy refuses the user.
    Closed(Closed),
    /// GitHub did not give a usable response.
    GitHub(GitHubError),
    /// The database failed.
    Failure(Failure),
}

impl From<Failure> for NotAdmitted {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

/// Checks the policy for a user who has just signed in, and pins their login if it is new.
pub(crate) async fn admit(
    server: &Server,
    account: &Account,
    token: &Secret,
    deadline: Deadline,
) -> Result<(), NotAdmitted> {
    let rules = &server.settings().gate;
    let known = users::get(server.db(), &account.user()).await?;
    if known.is_some_and(|it| it.blocked_at.is_some()) {
        return Err(NotAdmitted::Closed(Closed::Blocked));
    }
    let pin = listed(server, account.id, Some(&account.login)).await?;
    let Some(github) = server.github() else {
        return Err(NotAdmitted::Closed(Closed::SignInAgain));
    };
    if let Some(org) = &rules.org {
        let membership =
            github.membership(token, org, deadline).await.map_err(NotAdmitted::GitHub)?;
        judge(membership).map_err(NotAdmitted::Closed)?;
    }
    if let Pin::New(login) = pin {
        let holder = keep_pin(server.db(), &login, account.id, server.clock().now()).await?;
        // Another account pinned the login concurrently.
        if holder != account.id {
            return Err(NotAdmitted::Closed(Closed::LoginRecycled));
        }
    }
    Ok(())
}

/// Checks the policy again for a user who was admitted before.
pub async fn recheck(server: &Server, user: &UserId) -> GateAnswer {
    match ask_again(server, user).await {
        Ok(answer) => answer,
        Err(NotAdmitted::Closed(why)) => {
            count_refusal(user, why);
            GateAnswer::Closed(why)
        }
        Err(NotAdmitted::GitHub(error)) => {
            tracing::warn!(
                user = user.as_str(),
                dependency = GITHUB,
                "Could not recheck the access policy for {user}: {error}"
            );
            GateAnswer::Unknown
        }
        Err(NotAdmitted::Failure(failure)) => {
            tracing::error!(
                user = user.as_str(), dependency = failure.dependency(), error = ?failure,
                "Could not recheck the access policy for {user}"
            );
            GateAnswer::Unknown
        }
    }
}

/// Counts and logs the refusal of a user who was admitted before.
pub(crate) fn count_refusal(user: &UserId, why: Closed) {
    metrics::OAUTH_GATE_REFUSALS.count([why.as_str()]);
    tracing::info!(
        user = user.as_str(),
        why = why.as_str(),
        "The access policy no longer admits {user}"
    );
}

/// Returns whether the list still contains a user who was admitted before. Queries only the
/// database.
pub(crate) async fn is_listed(server: &Server, user: &UserId) -> Result<bool, Failure> {
    let Some(id) = users::github_id(user) else {
        return Ok(true); // there is no list of others
    };
    match listed(server, id, None).await {
        Ok(_) => Ok(true),
        Err(NotAdmitted::Failure(failure)) => Err(failure),
        Err(NotAdmitted::Closed(_) | NotAdmitted::GitHub(_)) => Ok(false),
    }
}

/// Returns whether the policy admits a user without any check, provided that the user is not
/// blocked.
pub(crate) fn is_open_to(server: &Server, user: &UserId) -> bool {
    !server.settings().gate.is_set() && users::github_id(user).is_some()
}

async fn ask_again(server: &Server, user: &UserId) -> Result<GateAnswer, NotAdmitted> {
    let rules = &server.settings().gate;
    let Some(id) = users::github_id(user) else {
        // Users of the development sign-in are valid only while it is enabled.
        return match sign_in_with::with(server) {
            SignInWith::Development => Ok(GateAnswer::Open),
            _ => Err(NotAdmitted::Closed(Closed::SignInAgain)),
        };
    };
    match users::get(server.db(), user).await? {
        Some(person) if person.blocked_at.is_some() => {
            return Err(NotAdmitted::Closed(Closed::Blocked));
        }
        Some(_) => {}
        None => return Err(NotAdmitted::Closed(Closed::SignInAgain)),
    }
    // The login is not checked: it may have passed to another account since the sign-in.
    listed(server, id, None).await?;
    let Some(org) = &rules.org else {
        return Ok(GateAnswer::Open);
    };
    let again = NotAdmitted::Closed(Closed::SignInAgain);
    let Some(github) = server.github() else {
        return Err(again);
    };
    let token = match kept_token::kept(server, user).await? {
        KeptToken::Token(token) => token,
        KeptToken::Missing => return Err(again),
        KeptToken::Unreadable => return Ok(GateAnswer::Unreadable),
    };
    let membership =
        github.membership(&token, org, Deadline::start()).await.map_err(NotAdmitted::GitHub)?;
    judge(membership).map_err(NotAdmitted::Closed)?;
    Ok(GateAnswer::Open)
}

fn judge(membership: Membership) -> Result<(), Closed> {
    match membership {
        Membership::Active => Ok(()),
        Membership::Pending => Err(Closed::MembershipPending),
        Membership::None => Err(Closed::NotAMember),
        Membership::Denied => Err(Closed::OrgRefuses),
        Membership::TokenRevoked => Err(Closed::SignInAgain),
    }
}

/// The change to the pinned logins that a sign-in requires.
enum Pin {
    /// None: there is no list, or the account's number is on it or pinned.
    Settled,
    /// The login is on the list, and is not pinned yet.
    New(String),
}

/// Checks that a user is on the list, if there is one.
async fn listed(server: &Server, id: i64, login: Option<&str>) -> Result<Pin, NotAdmitted> {
    let rules = &server.settings().gate;
    if rules.logins.is_empty() || rules.lists_id(id) {
        return Ok(Pin::Settled);
    }
    let pinned = Entity::find()
        .filter(COLUMN.github_id.eq(id))
        .all(server.db())
        .await
        .map_err(Failure::from)?;
    if pinned.iter().any(|it| rules.lists_login(&it.login)) {
        return Ok(Pin::Settled);
    }
    let login = login.map(str::to_ascii_lowercase);
    let Some(login) = login.filter(|it| rules.lists_login(it)) else {
        return Err(NotAdmitted::Closed(Closed::NotListed));
    };
    match pin_of(server.db(), &login).await? {
        None => Ok(Pin::New(login)),
        Some(_another) => Err(NotAdmitted::Closed(Closed::LoginRecycled)),
    }
}

async fn pin_of(db: &impl ConnectionTrait, login: &str) -> Result<Option<i64>, Failure> {
    let pin = Entity::find_by_id(login.to_owned()).one(db).await?;
    Ok(pin.map(|it| it.github_id))
}

/// Pins a login unless it is pinned already. Returns the number of the account that it is pinned
/// to.
async fn keep_pin(
    db: &impl ConnectionTrait,
    login: &str,
    id: i64,
    now: DateTime<Utc>,
) -> Result<i64, Failure> {
    let row = ActiveModel { login: Set(login.to_owned()), github_id: Set(id), pinned_at: Set(now) };
    let first_one_wins = OnConflict::column(Column::Login).do_nothing().to_owned();
    Entity::insert(row).on_conflict(first_one_wins).exec_without_returning(db).await?;
    Ok(pin_of(db, login).await?.unwrap_or(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_active_member_comes_in() {
        assert_eq!(judge(Membership::Active), Ok(()));
        for (membership, why) in [
            (Membership::Pending, Closed::MembershipPending),
            (Membership::None, Closed::NotAMember),
            (Membership::Denied, Closed::OrgRefuses),
            (Membership::TokenRevoked, Closed::SignInAgain),
        ] {
            assert_eq!(judge(membership), Err(why));
            let rules = Rules { logins: vec![], org: Some("octo-org".into()) };
            assert!(!why.sentence(&rules).is_empty());
        }
    }
}
