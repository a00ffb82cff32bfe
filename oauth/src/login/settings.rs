//! The settings that determine which identity providers are available.

use platform::{proxies::Proxies, public_url::PublicUrl};

use super::{github::GitHubSettings, oidc::OidcSettings, policy::AccessPolicy};

/// Settings of the identity providers.
#[derive(Clone, Debug)]
pub struct ProviderSettings {
    /// The public URL of this server, to which providers redirect.
    pub public_url: PublicUrl,
    /// The name of the program, for the `User-Agent` of requests to providers.
    pub program: &'static str,
    /// Whether the server runs on one machine for one user, so that the development sign-in, which
    /// accepts any name, is safe: `PUBLIC_URL` and the listener are loopback addresses.
    pub is_private: bool,
    /// The proxies to the providers.
    pub proxies: Proxies,
    /// GitHub. `None`: users do not sign in with GitHub.
    pub github: Option<GitHubSettings>,
    /// Which GitHub users may sign in.
    pub policy: AccessPolicy,
    /// The OpenID Connect providers, in the order in which pages show them.
    pub oidc: Vec<OidcSettings>,
}
