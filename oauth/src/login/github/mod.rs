//! GitHub as an identity provider.
//!
//! GitHub is not an OpenID provider, and this server needs little of it: an authorization request,
//! the exchange of a code, and one or two queries. GitHub reports errors of the exchange with
//! status 200, so the body decides. Redirects are never followed in requests that carry a token,
//! every response is bounded in time and size, and a token is revoked as soon as it is no longer
//! needed.

use std::sync::Arc;

use async_trait::async_trait;
use platform::secret::Secret;

mod allowed;
mod api;
mod error;
mod settings;

pub use self::{
    allowed::{EVERYONE, empty_list_error, parse_logins, parse_org},
    api::CALLBACK_PATH,
    settings::GitHubSettings,
};
use self::{
    api::GitHubClient,
    error::{ASK_THE_ORGANIZATION, GitHubError},
};
use super::{
    policy::{AccessPolicy, Allowed},
    provider::{
        Attributes, CallbackResult, CodeExchange, Deadline, Destination, Identity,
        IdentityProvider, InvalidCallback, Membership, ProviderError,
    },
    settings::ProviderSettings,
};
use crate::pkce::Verifier;

/// The provider in the identities of GitHub users.
const ID: &str = "github";

/// The maximum length of a code that is sent to GitHub, in bytes. Those of GitHub have 20.
const MAX_CODE_BYTES: usize = 256;

/// GitHub.
#[derive(Debug)]
struct GitHub {
    client: GitHubClient,
    /// The address of GitHub, for messages.
    url: String,
    /// The redirect URI that is registered with GitHub.
    callback: String,
    policy: AccessPolicy,
}

/// Returns GitHub if it is configured.
pub(super) fn configured(settings: &ProviderSettings) -> Option<Arc<dyn IdentityProvider>> {
    let github = settings.github.clone()?;
    Some(Arc::new(GitHub {
        url: github.url.clone(),
        client: GitHubClient::new(github, settings.proxies.clone(), settings.program),
        callback: format!("{}{CALLBACK_PATH}", settings.public_url),
        policy: settings.policy.clone(),
    }))
}

/// Returns the identity that an entry of `ALLOWED_GITHUB_LOGINS` names by number.
pub(super) fn listed_identity(entry: &str) -> Option<String> {
    match &parse_logins(entry).ok()?[..] {
        [Allowed::Subject(number)] => Some(format!("{ID}:{number}")),
        _ => None,
    }
}

#[async_trait]
impl IdentityProvider for GitHub {
    fn id(&self) -> &'static str {
        ID
    }

    fn label(&self) -> &'static str {
        "GitHub"
    }

    fn callback_path(&self) -> Option<&'static str> {
        Some(CALLBACK_PATH)
    }

    /// Returns the kind that the earlier version of the program uses, which may run beside this
    /// one.
    fn record_kind(&self) -> &'static str {
        "gh"
    }

    fn access_report(&self) -> String {
        let listed = self.policy.logins.len();
        match (&self.policy.org, listed) {
            (None, 0) => "everyone with a GitHub account may sign in; ALLOWED_GITHUB_LOGINS or \
                          ALLOWED_GITHUB_ORG limit it"
                .to_owned(),
            (None, _) => format!("the {listed} accounts of ALLOWED_GITHUB_LOGINS may sign in"),
            (Some(org), 0) => {
                format!("active members of the GitHub organization {org} may sign in")
            }
            (Some(org), _) => format!(
                "active members of the GitHub organization {org} may sign in if they are among the \
                 {listed} accounts of ALLOWED_GITHUB_LOGINS"
            ),
        }
    }

    fn policy(&self) -> &AccessPolicy {
        &self.policy
    }

    async fn start(
        &self,
        state: &str,
        verifier: &Verifier,
        _deadline: Deadline,
    ) -> Result<Destination, ProviderError> {
        let has_org = self.policy.org.is_some();
        let url = self.client.authorize_url(&self.callback, has_org, state, verifier);
        Ok(Destination::External(url))
    }

    fn read_callback(
        &self,
        parameters: &[(String, String)],
    ) -> Result<CallbackResult, InvalidCallback> {
        let refused = |error: &str| GitHubError::refused(error).into();
        CallbackResult::read(parameters, MAX_CODE_BYTES, refused)
    }

    async fn finish(&self, exchange: CodeExchange<'_>) -> Result<Identity, ProviderError> {
        let CodeExchange { code, verifier, deadline, .. } = exchange;
        let token = self.client.exchange(code, verifier, &self.callback, deadline).await?;
        let account = self.client.account(&token, deadline).await?;
        Ok(Identity {
            subject: account.id.to_string(),
            listed_as: Some(account.login.clone()),
            login: account.login,
            name: account.name,
            attributes: Attributes::default(),
            token: Some(token),
        })
    }

    async fn membership(
        &self,
        token: &Secret,
        org: &str,
        deadline: Deadline,
    ) -> Result<Membership, ProviderError> {
        Ok(self.client.membership(token, org, deadline).await?)
    }

    fn membership_advice(&self) -> &'static str {
        ASK_THE_ORGANIZATION
    }

    fn revoke_token(&self, token: &Secret) {
        self.client.revoke_token(token);
    }

    /// Checks the configured client id and secret, by exchanging an invalid code.
    async fn check(&self) -> anyhow::Result<String> {
        let verifier = Verifier::generate();
        let deadline = Deadline::start();
        match self.client.exchange("none", verifier.expose(), &self.callback, deadline).await {
            // GitHub refuses the code, and neither the client nor its callback.
            Err(error @ GitHubError::Refused(_)) if error.advice().is_none() => {
                Ok(format!("{} accepts the client id and secret", self.url))
            }
            Err(error) => Err(error.into()),
            Ok(_token) => anyhow::bail!("GitHub issued a token for an invalid code"),
        }
    }
}

#[cfg(test)]
mod tests {
    use platform::{
        proxies::{Proxies, fake},
        public_url::PublicUrl,
    };

    use super::*;

    fn github_behind(proxies: Proxies) -> Arc<dyn IdentityProvider> {
        let settings = GitHubSettings {
            client_id: "x".into(),
            client_secret: Secret::new("x"),
            url: "http://github.example.com".into(),
            api_url: "http://github.example.com".into(),
        };
        let settings = ProviderSettings {
            program: "test-mcp",
            public_url: PublicUrl::on_loopback(8080),
            is_private: true,
            proxies,
            github: Some(settings),
            policy: AccessPolicy::default(),
            oidc: Vec::new(),
        };
        configured(&settings).unwrap()
    }

    #[tokio::test]
    async fn the_check_fails_whenever_github_refuses_the_client_or_its_callback() {
        for refusal in [
            r#"{"error": "incorrect_client_credentials"}"#,
            r#"{"error": "redirect_uri_mismatch"}"#,
            r#"{"error": "application_suspended"}"#,
        ] {
            let (proxies, _head) = fake::start(refusal);
            assert!(github_behind(proxies).check().await.is_err(), "{refusal}");
        }
    }

    #[tokio::test]
    async fn requests_to_github_use_the_proxy() {
        let (proxies, head) = fake::start(r#"{"error": "bad_verification_code"}"#);
        github_behind(proxies).check().await.unwrap();
        let line = "POST http://github.example.com/login/oauth/access_token HTTP/1.1";
        assert!(fake::is_request(&head.join().unwrap(), line));
    }
}
