//! Sign-in: identity providers, logins, the access policy, and the users.
//!
//! | part | modules |
//! |---|---|
//! | the trait of identity providers, and its implementations | [`provider`], [`github`], [`development`] |
//! | a login, in the order of its steps | `start`, `pending_login`, `callback`, `complete`, `result`, `session` |
//! | who may sign in | [`policy`], [`allow_list`] |
//! | what is stored | [`users`], `upstream_token` |
//!
//! No other module of the program names a provider.

use std::sync::Arc;

pub mod allow_list;
mod callback;
mod complete;
pub mod development;
pub mod github;
mod outcome;
pub(crate) mod pending_login;
pub mod policy;
pub mod provider;
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
    start::{StartedLogin, start_for_account},
};

/// What users should do if no identity provider is configured.
pub const HOW_TO_SET_UP: &str =
    "Ask the operator to set GITHUB_CLIENT_ID and GITHUB_CLIENT_SECRET.";

/// The entry `Sign-in` of the banner, and of the output of the command `check`, if no identity
/// provider is configured.
pub const NO_PROVIDER: &str = "impossible: if HOST is set, GITHUB_CLIENT_ID must be set, too";

/// Returns the identity providers that users sign in with. A new provider is one more line.
///
/// At most one is returned, the first that is configured: there is no page yet on which a user
/// chooses one.
pub fn providers(settings: &ProviderSettings) -> Vec<Arc<dyn IdentityProvider>> {
    let all = [github::configured(settings), development::configured(settings)];
    all.into_iter().flatten().take(1).collect()
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
    fn a_provider_is_found_by_the_path_of_its_callback() {
        let github = github::GitHubSettings {
            client_id: "x".into(),
            client_secret: Secret::new("x"),
            url: "https://github.example.com".into(),
            api_url: "https://github.example.com".into(),
        };
        let settings = |github: Option<&github::GitHubSettings>, is_private| ProviderSettings {
            public_url: PublicUrl::on_loopback(8080),
            program: "test-mcp",
            is_private,
            proxies: Proxies::default(),
            github: github.cloned(),
            policy: policy::AccessPolicy::default(),
        };
        for (settings, id, callback) in [
            (settings(Some(&github), true), Some("github"), Some("/oauth/github/callback")),
            (settings(None, true), Some("dev"), None),
            (settings(None, false), None, None),
        ] {
            let providers = providers(&settings);
            assert_eq!(providers.first().map(|it| it.id()), id);
            assert_eq!(providers.first().and_then(|it| it.callback_path()), callback);
        }
    }
}
