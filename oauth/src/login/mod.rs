//! Sign-in: identity providers, logins, the access policy, and the users.
//!
//! | part | modules |
//! |---|---|
//! | the trait of identity providers, and its implementations | [`provider`], [`github`], [`oidc`], [`development`]; `http` for their requests |
//! | a login, in the order of its steps | `start`, `pending_login`, `callback`, `complete`, `result`, `session`; `report` for failures |
//! | who may sign in | [`policy`], [`allow_list`], `attributes` |
//! | what is stored | [`users`], `upstream_token` |
//!
//! No other module of the program names a provider.

use std::sync::Arc;

pub mod allow_list;
mod attributes;
mod callback;
mod complete;
pub mod development;
pub mod github;
mod http;
pub mod oidc;
mod outcome;
pub(crate) mod pending_login;
pub mod policy;
pub mod provider;
mod report;
mod result;
mod session;
mod settings;
pub(crate) mod start;
mod upstream_token;
pub mod users;

pub use self::{
    callback::{NamePageView, callback, name_page, state_of, submit_name},
    outcome::SignInOutcome,
    provider::{Destination, IdentityProvider},
    result::{CallbackError, FinishedLogin, Refusal},
    session::{ACCOUNT_SESSION_TTL, Session, session, sign_out},
    settings::ProviderSettings,
    start::{StartError, StartedLogin, start_for_account},
};

/// What users should do if no identity provider is configured.
pub const HOW_TO_SET_UP: &str =
    "Ask the operator to configure an identity provider, as docs/sign-in.md describes.";

/// The entry `Sign-in` of the banner, and of the output of the command `check`, if no identity
/// provider is configured.
pub const NO_PROVIDER: &str = "impossible: if HOST is set, an identity provider must be configured, \
     too (GITHUB_CLIENT_ID or OIDC_<NAME>_ISSUER)";

/// Returns the identity providers that users sign in with, in the order in which pages show them. A
/// new provider is one more line. The development sign-in exists only without any other.
pub fn providers(settings: &ProviderSettings) -> Vec<Arc<dyn IdentityProvider>> {
    let mut all: Vec<_> = github::configured(settings).into_iter().collect();
    all.extend(oidc::configured(settings));
    if all.is_empty() {
        all.extend(development::configured(settings));
    }
    all
}

/// Returns the identity that an entry of a list of allowed users names by its subject, such as
/// `github:583231` for `id:583231`. `None`: the text is not such an entry.
pub fn listed_identity(entry: &str) -> Option<String> {
    github::listed_identity(entry)
}

#[cfg(test)]
mod tests {
    use platform::{proxies::Proxies, public_url::PublicUrl, secret::Secret};

    use super::*;

    #[test]
    fn the_development_sign_in_exists_only_without_another_provider() {
        let github = github::GitHubSettings {
            client_id: "x".into(),
            client_secret: Secret::new("x"),
            url: "https://github.example.com".into(),
            api_url: "https://github.example.com".into(),
        };
        let oidc = |name: &str| oidc::OidcSettings {
            name: oidc::ProviderName::parse(name).unwrap(),
            label: None,
            issuer: "https://login.example.com".into(),
            client_id: "x".into(),
            client_secret: None,
            scopes: vec!["openid".into()],
            policy: policy::AccessPolicy::default(),
            id_jag: false,
        };
        let settings =
            |github: Option<&github::GitHubSettings>, oidc, is_private| ProviderSettings {
                public_url: PublicUrl::on_loopback(8080),
                program: "test-mcp",
                is_private,
                proxies: Proxies::default(),
                github: github.cloned(),
                policy: policy::AccessPolicy::default(),
                oidc,
            };
        let [github_path, a_path, b_path] =
            ["github", "a", "b2"].map(|id| Some(format!("/oauth/{id}/callback")));
        for (settings, expected) in [
            (settings(Some(&github), vec![], true), vec![("github", github_path.clone())]),
            (
                settings(Some(&github), vec![oidc("A"), oidc("B2")], true),
                vec![("github", github_path), ("a", a_path.clone()), ("b2", b_path)],
            ),
            (settings(None, vec![oidc("A")], false), vec![("a", a_path)]),
            (settings(None, vec![], true), vec![("dev", None)]),
            (settings(None, vec![], false), vec![]),
        ] {
            let providers = providers(&settings);
            let found: Vec<_> = providers
                .iter()
                .map(|provider| (provider.id(), provider.callback_path().map(str::to_owned)))
                .collect();
            assert_eq!(found, expected);
        }
    }
}
