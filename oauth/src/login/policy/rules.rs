//! The rules of the access policy, and the reasons for a refusal.

use std::{borrow::Cow, fmt};

use platform::{counted, one_of};

use crate::login::attributes::Attributes;

/// The access policy for the users of one identity provider. A user must satisfy all rules that are
/// set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessPolicy {
    /// The list of allowed users. Empty: all users.
    pub logins: Vec<Allowed>,
    /// The organization at the provider whose members are allowed, if the provider has to be asked
    /// for each membership.
    pub org: Option<String>,
    /// The domains whose users are allowed, in lower case, according to the user's attributes.
    /// Empty: all users.
    pub domains: Vec<String>,
    /// The groups of which a user must be in at least one, according to the user's attributes.
    /// Empty: all users.
    pub groups: Vec<String>,
    /// The claim with the groups of a user, if the provider has claims.
    pub groups_claim: String,
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
    /// A rule is about e-mail addresses, and the provider has not verified that of the user.
    EmailNotVerified,
    /// The user belongs to another domain, or to none.
    OtherDomain,
    /// The user is in none of the groups.
    NotInGroup,
    /// An operator blocked the user.
    Blocked,
    /// The stored data does not allow a decision; a new sign-in is required.
    SignInAgain,
}

impl DenialReason {
    /// All reasons.
    pub const ALL: [Self; 10] = [
        Self::NotListed,
        Self::LoginRecycled,
        Self::NotAMember,
        Self::MembershipPending,
        Self::OrgRefuses,
        Self::EmailNotVerified,
        Self::OtherDomain,
        Self::NotInGroup,
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
            Self::EmailNotVerified => "email_not_verified",
            Self::OtherDomain => "other_domain",
            Self::NotInGroup => "not_in_group",
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
            Self::EmailNotVerified => format!(
                "This server accepts verified e-mail addresses only, and {provider} does not say \
                 that yours is verified. Verify it at {provider}, then connect again. If it is \
                 verified already, ask the operator of this server."
            ),
            Self::OtherDomain => format!(
                "This server is for accounts of {}, and this account is not one. Connect again, \
                 and sign in at {provider} with another account.",
                one_of(&policy.domains)
            ),
            Self::NotInGroup => format!(
                "This server is for certain groups at {provider}, and this account is in none of \
                 them. Ask the operator of this server to add you to a group, then connect again."
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
        !self.logins.is_empty() || self.org.is_some() || self.has_attribute_rules()
    }

    /// Returns whether a rule is about the attributes of users.
    pub fn has_attribute_rules(&self) -> bool {
        !self.domains.is_empty() || !self.groups.is_empty()
    }

    /// Returns the rules that only the provider can answer, as one text. A result for other rules
    /// does not count. `None`: there is no such rule.
    pub fn remote_rules(&self) -> Option<Cow<'_, str>> {
        if let Some(org) = &self.org {
            return Some(org.into());
        }
        if !self.has_attribute_rules() {
            return None;
        }
        let list = |entries: &[String]| {
            let mut entries: Vec<&str> = entries.iter().map(String::as_str).collect();
            entries.sort_unstable();
            entries.join(",")
        };
        let mut rules = format!("domains:{};groups:{}", list(&self.domains), list(&self.groups));
        if !self.groups.is_empty() {
            rules += ";claim:";
            rules += &self.groups_claim;
        }
        Some(rules.into())
    }

    /// Checks the rules about attributes.
    pub(crate) fn check_attributes(&self, attributes: &Attributes) -> Result<(), DenialReason> {
        let Attributes { has_verified_email, domain, groups } = attributes;
        let has_domain =
            || domain.as_ref().is_some_and(|domain| self.domains.iter().any(|it| it == domain));
        if !self.domains.is_empty() && !has_domain() {
            return Err(if *has_verified_email {
                DenialReason::OtherDomain
            } else {
                DenialReason::EmailNotVerified
            });
        }
        if !self.groups.is_empty() && !groups.iter().any(|group| self.groups.contains(group)) {
            return Err(DenialReason::NotInGroup);
        }
        Ok(())
    }

    /// Describes who may sign in. `provider` is the label of the identity provider.
    pub fn describe(&self, provider: &str) -> String {
        let mut parts = Vec::new();
        if let Some(org) = &self.org {
            parts.push(format!("organization {org}"));
        }
        if !self.domains.is_empty() {
            parts.push(format!("accounts of {}", one_of(&self.domains)));
        }
        if !self.groups.is_empty() {
            parts.push(format!("members of {}", counted(self.groups.len(), "group", "groups")));
        }
        let logins = counted(self.logins.len(), "login", "logins");
        match (parts.is_empty(), self.logins.len()) {
            (true, 0) => {
                let is_vowel = |letter| "AEIOU".contains(letter);
                let article = if provider.starts_with(is_vowel) { "an" } else { "a" };
                format!("everyone with {article} {provider} account")
            }
            (true, _) => logins,
            (false, 0) => parts.join(", "),
            (false, _) => format!("{}, limited to {logins}", parts.join(", ")),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn attributes_have_to_satisfy_every_rule() {
        let both = AccessPolicy {
            domains: texts(&["example.com", "example.org"]),
            groups: texts(&["engineers", "writers"]),
            ..AccessPolicy::default()
        };
        let domains = AccessPolicy { groups: Vec::new(), ..both.clone() };
        let groups = AccessPolicy { domains: Vec::new(), ..both.clone() };
        let user = |verified, domain: Option<&str>, groups: &[&str]| Attributes {
            has_verified_email: verified,
            domain: domain.map(str::to_owned),
            groups: texts(groups),
        };
        for (policy, attributes, expected) in [
            (&domains, user(true, Some("example.org"), &[]), Ok(())),
            (&domains, user(true, Some("sub.example.org"), &[]), Err(DenialReason::OtherDomain)),
            (&domains, user(true, None, &[]), Err(DenialReason::OtherDomain)),
            (&domains, user(false, None, &[]), Err(DenialReason::EmailNotVerified)),
            (&groups, user(false, None, &["sales", "writers"]), Ok(())),
            (&groups, user(true, None, &["Writers", "writers2"]), Err(DenialReason::NotInGroup)),
            (&groups, user(true, None, &[]), Err(DenialReason::NotInGroup)),
            (&both, user(true, Some("example.com"), &["engineers"]), Ok(())),
            (&both, user(true, Some("example.com"), &[]), Err(DenialReason::NotInGroup)),
            (
                &both,
                user(true, Some("other.example"), &["engineers"]),
                Err(DenialReason::OtherDomain),
            ),
            (&AccessPolicy::default(), user(false, None, &[]), Ok(())),
        ] {
            assert_eq!(policy.check_attributes(&attributes), expected, "{policy:?} {attributes:?}");
        }
    }

    #[test]
    fn rules_at_the_provider_do_not_depend_on_the_order_of_a_list() {
        let policy =
            |domains: &[&str]| AccessPolicy { domains: texts(domains), ..AccessPolicy::default() };
        let (one, other) =
            (policy(&["a.example", "b.example"]), policy(&["b.example", "a.example"]));
        assert_eq!(one.remote_rules(), other.remote_rules());
        assert_ne!(one.remote_rules(), policy(&["a.example"]).remote_rules());
        let groups = |claim: &str| AccessPolicy {
            groups: texts(&["staff"]),
            groups_claim: claim.to_owned(),
            ..AccessPolicy::default()
        };
        assert_ne!(groups("groups").remote_rules(), groups("roles").remote_rules());
        let org = AccessPolicy { org: Some("octo-org".into()), ..AccessPolicy::default() };
        assert_eq!(org.remote_rules().as_deref(), Some("octo-org"), "as earlier versions wrote it");
        assert_eq!(AccessPolicy::default().remote_rules(), None);
    }

    #[test]
    fn a_description_names_every_rule() {
        let policy = AccessPolicy {
            logins: vec![Allowed::Subject("7".into())],
            domains: texts(&["a.example", "b.example", "c.example"]),
            groups: texts(&["g"]),
            ..AccessPolicy::default()
        };
        assert_eq!(
            policy.describe("Keycloak"),
            "accounts of a.example, b.example or c.example, members of 1 group, limited to 1 login"
        );
    }
}
