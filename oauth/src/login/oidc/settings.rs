//! The settings of one OpenID Connect provider.

use std::fmt;

use platform::secret::Secret;

use crate::login::policy::AccessPolicy;

/// The maximum length of the name of a provider.
const MAX_NAME: usize = 20;

/// Names that are the ids of other providers, and the first part of the identities of service accounts.
const RESERVED: [&str; 3] = ["github", "dev", "service"];

/// Names of well-known providers, with their spelling on pages.
const LABELS: [(&str, &str); 9] = [
    ("auth0", "Auth0"),
    ("azure", "Microsoft"),
    ("entra", "Microsoft"),
    ("gitlab", "GitLab"),
    ("google", "Google"),
    ("keycloak", "Keycloak"),
    ("microsoft", "Microsoft"),
    ("okta", "Okta"),
    ("zitadel", "ZITADEL"),
];

/// The client at an OpenID Connect provider, and which of its users may sign in. Each field is the
/// variable `OIDC_<NAME>_…` of the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OidcSettings {
    /// The name of the provider.
    pub name: ProviderName,
    /// The name on pages. `None`: follows from `name`.
    pub label: Option<String>,
    /// The issuer, exactly as the provider writes it.
    pub issuer: String,
    /// The client id.
    pub client_id: String,
    /// The client secret. `None`: a public client.
    pub client_secret: Option<Secret>,
    /// The requested scopes, with `openid`.
    pub scopes: Vec<String>,
    /// Which users may sign in.
    pub policy: AccessPolicy,
    /// Whether identity assertions (ID-JAG) of the provider are accepted.
    pub id_jag: bool,
}

/// The name of a provider in lower case: part of the identities of its users and of its callback.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProviderName(String);

impl ProviderName {
    /// Parses the upper-case name in `OIDC_<NAME>_ISSUER`. The error continues a sentence that begins
    /// with the name.
    pub fn parse(text: &str) -> Result<Self, String> {
        let is_valid = (1..=MAX_NAME).contains(&text.len())
            && text.starts_with(|first: char| first.is_ascii_uppercase())
            && text.bytes().all(|it| it.is_ascii_uppercase() || it.is_ascii_digit());
        let name = text.to_ascii_lowercase();
        if !is_valid {
            Err(format!(
                "is not a name for a provider: use up to {MAX_NAME} letters and digits, beginning \
                 with a letter, such as GOOGLE"
            ))
        } else if RESERVED.contains(&&*name) {
            Err("is the name of a built-in provider; use another one".to_owned())
        } else {
            Ok(Self(name))
        }
    }

    /// Returns the name in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the name on pages: that of a well-known provider, or the name itself.
    pub(super) fn label(&self) -> String {
        if let Some((_, label)) = LABELS.iter().find(|(name, _)| *name == self.0) {
            return (*label).to_owned();
        }
        let (first, rest) = self.0.split_at(1);
        first.to_ascii_uppercase() + rest
    }
}

impl fmt::Display for ProviderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_word() {
        for (text, label) in [
            ("GOOGLE", "Google"),
            ("ENTRA", "Microsoft"),
            ("AUTH0", "Auth0"),
            ("ACME", "Acme"),
            ("A", "A"),
        ] {
            let name = ProviderName::parse(text).unwrap();
            assert_eq!(name.as_str(), text.to_ascii_lowercase());
            assert_eq!(name.label(), label);
        }
        for bad in
            ["", "google", "MY_CORP", "1A", "A-B", "Ä", "GITHUB", "DEV", "SERVICE", &"A".repeat(21)]
        {
            assert!(ProviderName::parse(bad).is_err(), "{bad}");
        }
    }
}
