//! The rules of the access policy, and the reasons for a refusal.

use std::fmt;

use platform::counted;

/// The access policy for the users of one identity provider. A user must satisfy all rules that are
/// set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessPolicy {
    /// The list of allowed users. Empty: all users.
    pub logins: Vec<Allowed>,
    /// The organization, or other group at the provider, whose members are allowed.
    pub org: Option<String>,
}

/// An entry of the list of allowed users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// A login, in lower case: logins are case-insensitive.
    Login(String),
    /// The identifier of a user at the provider.
    Subject(String),
}

/// Why the access policy refuses a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DenialReason {
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

impl DenialReason {
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

    /// Returns sentences for the user: why the policy refuses them, and what to do. `provider` is
    /// the label of the identity provider.
    pub fn sentence(self, policy: &AccessPolicy, provider: &str) -> String {
        let org = policy.org.as_deref().unwrap_or(provider);
        match self {
            Self::NotListed => {
                "This account is not on the list of people who may use this server. \
                 Ask its operator to add you."
                    .into()
            }
            Self::LoginRecycled => {
                "This login is on the list of people who may use this server, but \
                 it belonged to another account when it was first used here. Ask the operator \
                 of this server to allow your account by its id."
                    .into()
            }
            Self::NotAMember => format!(
                "This server is for members of the organization {org}, and this account is not one. \
                 Ask an owner of {org} for an invitation."
            ),
            Self::MembershipPending => format!(
                "You were invited to the organization {org} but have not accepted yet. Accept the \
                 invitation on {provider}, then connect again."
            ),
            Self::OrgRefuses => format!(
                "The organization {org} does not allow this server to check whether you are a \
                 member. Ask an owner of {org} to approve this server."
            ),
            Self::Blocked => {
                "The operator of this server has blocked this account. Ask them why.".into()
            }
            Self::SignInAgain => "Sign in again.".into(),
        }
    }
}

impl fmt::Display for DenialReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl AccessPolicy {
    /// Returns whether any rule is set.
    pub fn is_set(&self) -> bool {
        !self.logins.is_empty() || self.org.is_some()
    }

    /// Describes who may sign in. `provider` is the label of the identity provider.
    pub fn describe(&self, provider: &str) -> String {
        let logins = counted(self.logins.len(), "login", "logins");
        match (&self.org, self.logins.len()) {
            (None, 0) => format!("everyone with a {provider} account"),
            (None, _) => logins,
            (Some(org), 0) => format!("organization {org}"),
            (Some(org), _) => format!("organization {org}, limited to {logins}"),
        }
    }

    /// Returns the listed logins, in lower case.
    pub(crate) fn listed_logins(&self) -> impl Iterator<Item = &str> {
        self.logins.iter().filter_map(|allowed| match allowed {
            Allowed::Login(login) => Some(&**login),
            Allowed::Subject(_) => None,
        })
    }

    /// Returns the listed subjects.
    pub(crate) fn listed_subjects(&self) -> impl Iterator<Item = &str> {
        self.logins.iter().filter_map(|allowed| match allowed {
            Allowed::Subject(subject) => Some(&**subject),
            Allowed::Login(_) => None,
        })
    }
}
