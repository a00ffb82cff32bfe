//! The rules about who may sign in, and the reasons for a refusal.

use std::fmt;

use platform::counted;

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
    pub(crate) fn is_definite(self) -> bool {
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

impl Rules {
    /// Whether there is any.
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
