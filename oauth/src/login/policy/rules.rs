//! The rules of the access policy, and the reasons for a refusal.

use std::fmt;

use platform::counted;

/// The maximum length of a GitHub login.
const MAX_LOGIN: usize = 39;

/// The access policy. A user must satisfy all rules that are set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// `ALLOWED_GITHUB_LOGINS`. Empty: all users.
    pub logins: Vec<Allowed>,
    /// `ALLOWED_GITHUB_ORG`.
    pub org: Option<String>,
}

impl fmt::Display for Rules {
    /// Describes who may sign in.
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

/// The value of `ALLOWED_GITHUB_LOGINS` that admits all users.
pub const EVERYBODY: &str = "*";

/// An entry of the list of allowed users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// A login, in lower case: GitHub logins are case-insensitive.
    Login(String),
    /// The number of a GitHub account.
    Id(i64),
}

/// Why the access policy refuses a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// The user is not on the list.
    NotListed,
    /// The user's login is on the list, but is pinned to another account, which signed in first.
    LoginRecycled,
    /// The user is not a member of the organization.
    NotAMember,
    /// The user was invited to the organization and has not accepted yet.
    MembershipPending,
    /// The organization does not allow this server to query memberships.
    OrgRefuses,
    /// An operator blocked the user.
    Blocked,
    /// The stored data does not allow a decision; a new sign-in is required.
    SignInAgain,
}

impl Closed {
    /// All reasons.
    pub const ALL: [Self; 7] = [
        Self::NotListed,
        Self::LoginRecycled,
        Self::NotAMember,
        Self::MembershipPending,
        Self::OrgRefuses,
        Self::Blocked,
        Self::SignInAgain,
    ];

    /// Returns whether this is a definite refusal, which ends the user's existing access. Only
    /// [`Self::SignInAgain`] is not: it means that the policy could not be evaluated.
    pub(crate) fn is_definite(self) -> bool {
        self != Self::SignInAgain
    }

    /// Returns the reason as one word, for logs.
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

    /// Returns sentences for the user: what is wrong, and what to do.
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

impl Rules {
    /// Returns whether any rule is set.
    pub fn is_set(&self) -> bool {
        !self.logins.is_empty() || self.org.is_some()
    }

    pub(super) fn lists_id(&self, id: i64) -> bool {
        self.logins.contains(&Allowed::Id(id))
    }

    pub(super) fn lists_login(&self, login: &str) -> bool {
        self.logins.iter().any(|it| matches!(it, Allowed::Login(listed) if listed == login))
    }
}

/// The error message for a list of logins without an entry.
pub fn names_no_one() -> String {
    format!(
        "is set but names no one: write {EVERYBODY} to let everyone with a GitHub account in, or list \
         who may sign in"
    )
}

/// Parses a comma-separated list of users; blanks are ignored.
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

/// Parses the name of an organization.
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
}
