//! Providers whose behavior differs from the standard where this server needs it.

use url::Url;

/// A well-known provider, recognized by its issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// Google. It issues refresh tokens for `access_type=offline` instead of the scope
    /// `offline_access`, and says in `hd` which organization an account belongs to: a verified e-mail
    /// address alone does not, because a private account can have an address of any domain.
    Google,
    /// Microsoft Entra ID. It has no `email_verified`; the optional claim `xms_edov` says whether the
    /// owner of the domain has verified the address.
    Microsoft,
    /// Any other provider.
    Other,
}

/// The hosts of the issuers of Microsoft's clouds.
const MICROSOFT: [&str; 3] =
    ["login.microsoftonline.com", "login.microsoftonline.us", "login.partner.microsoftonline.cn"];

/// The scope that asks for a refresh token (OpenID Connect Core 1.0, section 11).
pub(super) const OFFLINE_ACCESS: &str = "offline_access";

impl Known {
    /// Recognizes a provider by its issuer.
    pub(super) fn of(issuer: &str) -> Self {
        match Url::parse(issuer).ok().as_ref().and_then(Url::host_str) {
            Some("accounts.google.com") => Self::Google,
            Some(host) if MICROSOFT.contains(&host) => Self::Microsoft,
            _ => Self::Other,
        }
    }

    /// Returns the value of the parameter `prompt`: lets the user choose an account if the provider
    /// supports that, so that no user is signed in unnoticed, or with the wrong one of their
    /// accounts; and asks for the consent that a refresh token requires. `supported` is what the
    /// provider says about itself.
    pub(super) fn prompt(self, supported: Option<&[String]>, offline: bool) -> Option<String> {
        let supports = |value: &str, otherwise| {
            supported.map_or(otherwise, |all| all.iter().any(|it| it == value))
        };
        let chooses = self != Self::Other || supports("select_account", false);
        // Microsoft asks by itself where it is necessary; where only an administrator may consent, the
        // parameter would make every sign-in fail.
        let consents = offline && self != Self::Microsoft && supports("consent", true);
        let prompts = [(chooses, "select_account"), (consents, "consent")];
        let prompts: Vec<_> =
            prompts.into_iter().filter_map(|(asks, value)| asks.then_some(value)).collect();
        (!prompts.is_empty()).then(|| prompts.join(" "))
    }

    /// Returns whether a scope is a parameter of its own at this provider.
    pub(super) fn replaces(self, scope: &str) -> bool {
        self == Self::Google && scope == OFFLINE_ACCESS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn providers_are_recognized_by_the_host() {
        for (issuer, known) in [
            ("https://accounts.google.com", Known::Google),
            ("https://login.microsoftonline.com/9188040d/v2.0", Known::Microsoft),
            ("https://accounts.google.com.example.com", Known::Other),
            ("https://example.com/accounts.google.com", Known::Other),
        ] {
            assert_eq!(Known::of(issuer), known, "{issuer}");
        }
    }

    #[test]
    fn the_prompt_is_one_that_the_provider_supports() {
        let all = ["login", "select_account", "consent"].map(str::to_owned);
        let login = ["login".to_owned()];
        for (known, supported, offline, expected) in [
            (Known::Google, None, false, Some("select_account")),
            (Known::Google, None, true, Some("select_account consent")),
            (Known::Microsoft, None, true, Some("select_account")),
            (Known::Other, None, false, None),
            (Known::Other, None, true, Some("consent")),
            (Known::Other, Some(&all[..]), true, Some("select_account consent")),
            (Known::Other, Some(&login[..]), true, None),
        ] {
            assert_eq!(known.prompt(supported, offline).as_deref(), expected, "{known:?}");
        }
    }
}
