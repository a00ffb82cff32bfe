//! Who may come in: a list of people, membership of an organisation, or both. Without a rule,
//! everybody with a GitHub account may.
//!
//! It fails closed. A login on the list is only a way to name somebody: the first successful sign-in
//! under it pins it to the account's number, and from then on the number decides, so whoever takes
//! over a login later inherits nothing, and whoever changes theirs loses nothing.
//!
//! The question is asked at sign-in, before a code is issued, and again while a client keeps its
//! connection ([`recheck`]). How often, and for how long an old answer holds, is decided where tokens
//! are refreshed.

use std::fmt;

use chrono::{DateTime, Utc};
use entity::login_pins::{ActiveModel, COLUMN, Column, Entity};
use mcp::UserId;
use platform::metrics;
use platform::{counted, db::Failure, secret::Secret};
use sea_orm::{ConnectionTrait, EntityTrait as _, QueryFilter as _, Set, sea_query::OnConflict};

use super::{
    github::{Account, Deadline, GITHUB, GitHubError, Membership},
    kept_token::{self, KeptToken},
    sign_in::{self, SignInWith},
};
use crate::{server::Server, users};

/// The longest login that GitHub gives.
const MAX_LOGIN: usize = 39;

/// Who may come in. All rules that are set must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// `ALLOWED_GITHUB_LOGINS`; everybody if there is none.
    pub logins: Vec<Allowed>,
    /// `ALLOWED_GITHUB_ORG`.
    pub org: Option<String>,
}

impl fmt::Display for Rules {
    /// Who may sign in.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let logins = counted(self.logins.len(), "login", "logins");
        match (&self.org, self.logins.len()) {
            (None, 0) => f.write_str("everybody with a GitHub account"),
            (None, _) => write!(f, "{logins}"),
            (Some(org), 0) => write!(f, "organization {org}"),
            (Some(org), _) => write!(f, "organization {org}, limited to {logins}"),
        }
    }
}

/// What stands for everybody in `ALLOWED_GITHUB_LOGINS`.
pub const EVERYBODY: &str = "*";

/// One person on the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// By login, in lower case: GitHub tells no cases apart.
    Login(String),
    /// By the number of the account.
    Id(i64),
}

/// What is known about somebody who had come in before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateAnswer {
    /// They may stay.
    Open,
    /// They may not.
    Closed(Closed),
    /// GitHub, or the database, gave no answer.
    Unknown,
    /// The GitHub token of the person is sealed under a key that this instance does not have: during a
    /// deploy that changes keys, or because an old key is no longer configured.
    Unreadable,
}

/// Why somebody may not come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// They are not on the list.
    NotListed,
    /// Their login is on the list, but it belonged to another account when it first signed in.
    LoginRecycled,
    /// They do not belong to the organisation.
    NotAMember,
    /// They were invited to the organisation and have not accepted yet.
    MembershipPending,
    /// The organisation does not let this server ask.
    OrgRefuses,
    /// An operator shut them out.
    Blocked,
    /// What is known about them is not enough to go on.
    SignInAgain,
}

impl Closed {
    /// Every one.
    pub const ALL: [Self; 7] = [
        Self::NotListed,
        Self::LoginRecycled,
        Self::NotAMember,
        Self::MembershipPending,
        Self::OrgRefuses,
        Self::Blocked,
        Self::SignInAgain,
    ];

    /// Whether it is a definite answer about the person, which ends what they were given before. Only
    /// [`Self::SignInAgain`] is not: it says that nothing is known.
    pub(super) fn is_definite(self) -> bool {
        self != Self::SignInAgain
    }

    /// The same in one word, for logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotListed => "not_listed",
            Self::LoginRecycled => "login_recycled",
            Self::NotAMember => "not_a_member",
            Self::MembershipPending => "membership_pending",
            Self::OrgRefuses => "org_refuses",
            Self::Blocked => "blocked",
            Self::SignInAgain => "sign_in_again",
        }
    }

    /// The same in sentences for the person: what is wrong, and what to do.
    pub fn sentence(self, rules: &Rules) -> String {
        let org = rules.org.as_deref().unwrap_or("GitHub");
        match self {
            Self::NotListed => {
                "This account is not on the list of people who may use this server. \
                 Ask the person who runs it to add you."
                    .into()
            }
            Self::LoginRecycled => {
                "This login is on the list of people who may use this server, but \
                 it belonged to another account when it was first used here. Ask the person who \
                 runs it to allow your account by its number."
                    .into()
            }
            Self::NotAMember => format!(
                "This server is for members of the organisation {org}, and this account is not one. \
                 Ask an owner of {org} for an invitation."
            ),
            Self::MembershipPending => format!(
                "You were invited to the organisation {org} but have not accepted yet. Accept the \
                 invitation on GitHub, then connect again."
            ),
            Self::OrgRefuses => format!(
                "The organisation {org} does not allow this server to see who its members are. Ask \
                 an owner of {org} to approve it."
            ),
            Self::Blocked => {
                "This account was shut out of this server. Ask the person who runs it.".into()
            }
            Self::SignInAgain => "Sign in again.".into(),
        }
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why somebody who has just signed in is not let in.
#[derive(Debug)]
pub(super) enum NotAdmitted {
    /// The rules say no.
    Closed(Closed),
    /// GitHub gave no answer.
    GitHub(GitHubError),
    /// The database gave none.
    Failure(Failure),
}

impl From<Failure> for NotAdmitted {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl Rules {
    /// Whether there is any.
    pub fn is_set(&self) -> bool {
        !self.logins.is_empty() || self.org.is_some()
    }

    fn lists_id(&self, id: i64) -> bool {
        self.logins.contains(&Allowed::Id(id))
    }

    fn lists_login(&self, login: &str) -> bool {
        self.logins.iter().any(|it| matches!(it, Allowed::Login(listed) if listed == login))
    }
}

/// The problem of a list of logins without an entry.
pub fn names_no_one() -> String {
    format!(
        "is set but names no one: write {EVERYBODY} to let everyone with a GitHub account in, or list \
         who may sign in"
    )
}

/// Reads a list of people: separated by commas, blanks tolerated.
pub fn parse_logins(text: &str) -> Result<Vec<Allowed>, String> {
    if text == EVERYBODY {
        return Ok(Vec::new());
    }
    let mut entries = text.split(',').map(str::trim).filter(|it| !it.is_empty()).peekable();
    if entries.peek().is_none() {
        return Err(names_no_one());
    }
    entries
        .map(|entry| {
            let allowed = match entry.split_once(':') {
                Some((kind, id)) if kind.trim().eq_ignore_ascii_case("id") => {
                    id.trim().parse().ok().filter(|it| *it > 0).map(Allowed::Id)
                }
                _ => is_login(entry).then(|| Allowed::Login(entry.to_ascii_lowercase())),
            };
            allowed.ok_or_else(|| {
                format!(
                    "must be GitHub logins or numeric ids, such as octocat,id:583231; one is \
                     “{entry}”"
                )
            })
        })
        .collect()
}

/// Reads the name of an organisation.
pub fn parse_org(text: &str) -> Result<String, String> {
    if is_login(text) {
        Ok(text.to_owned())
    } else {
        Err(format!("must be the name of a GitHub organisation; it is “{text}”"))
    }
}

fn is_login(text: &str) -> bool {
    (1..=MAX_LOGIN).contains(&text.len())
        && text.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-' || it == b'_')
}

/// Lets somebody in who has just signed in, or says why not. Pins the login that they came in by.
pub(super) async fn admit(
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
        // Somebody else was faster by a moment.
        if holder != account.id {
            return Err(NotAdmitted::Closed(Closed::LoginRecycled));
        }
    }
    Ok(())
}

/// Asks again about somebody who had come in before.
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
                "The gate could not be asked about {user}: {error}"
            );
            GateAnswer::Unknown
        }
        Err(NotAdmitted::Failure(failure)) => {
            tracing::error!(
                user = user.as_str(), dependency = failure.dependency(), error = ?failure,
                "The gate could not be asked about {user}: {failure}"
            );
            GateAnswer::Unknown
        }
    }
}

/// Counts and logs that a person who was admitted before is refused now.
pub(super) fn count_refusal(user: &UserId, why: Closed) {
    metrics::OAUTH_GATE_REFUSALS.count([why.as_str()]);
    tracing::info!(user = user.as_str(), why = why.as_str(), "The gate has closed for {user}");
}

/// Whether the list still names a person who was admitted before. Asks only the database.
pub(super) async fn is_listed(server: &Server, user: &UserId) -> Result<bool, Failure> {
    let Some(id) = users::github_id(user) else {
        return Ok(true); // there is no list of others
    };
    match listed(server, id, None).await {
        Ok(_) => Ok(true),
        Err(NotAdmitted::Failure(failure)) => Err(failure),
        Err(NotAdmitted::Closed(_) | NotAdmitted::GitHub(_)) => Ok(false),
    }
}

/// Whether there is nothing to ask about a person who is not blocked.
pub(super) fn is_open_to(server: &Server, user: &UserId) -> bool {
    !server.settings().gate.is_set() && users::github_id(user).is_some()
}

async fn ask_again(server: &Server, user: &UserId) -> Result<GateAnswer, NotAdmitted> {
    let rules = &server.settings().gate;
    let Some(id) = users::github_id(user) else {
        // Whoever signed in during development does not outlive it.
        return match sign_in::with(server) {
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
    // Their login is not asked for: it may have changed hands since they gave it.
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

/// What a sign-in does to the pins.
enum Pin {
    /// Nothing: there is no list, or the number is known.
    Settled,
    /// The login is on the list, and nobody has come in by it yet.
    New(String),
}

/// Whether somebody is on the list, if there is one.
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

/// Pins a login unless it is pinned, and says to whom it is.
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
    fn a_list_is_read_as_people_write_it() {
        let login = |it: &str| Allowed::Login(it.to_owned());
        for (text, expected) in [
            ("octocat", vec![login("octocat")]),
            (" Octocat , hubot ", vec![login("octocat"), login("hubot")]),
            ("octocat,,", vec![login("octocat")]),
            ("id:583231", vec![Allowed::Id(583_231)]),
            ("ID: 583231, a-b_c", vec![Allowed::Id(583_231), login("a-b_c")]),
            ("id", vec![login("id")]),
        ] {
            assert_eq!(parse_logins(text), Ok(expected), "{text}");
        }
        let long = "a".repeat(40);
        for bad in ["octo cat", "id:", "id:0", "id:-1", "id:x", "@octocat", "a/b", "x:1", &long] {
            assert!(parse_logins(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_organisation_is_one_name() {
        assert_eq!(parse_org("Octo-Org"), Ok("Octo-Org".to_owned()));
        for bad in ["a,b", "a/b", "..", "a b", "https://github.com/a"] {
            assert!(parse_org(bad).is_err(), "{bad}");
        }
    }

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
