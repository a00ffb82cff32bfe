//! Settings of the authorization server.

use std::time::Duration;

use ::oauth::{
    access_token,
    cimd::KnownDocuments,
    client::{self, Client},
    dpop, grant,
    login::{
        github::{self, GitHubSettings},
        oidc::OidcSettings,
        policy::AccessPolicy,
    },
    redirect_uri::Schemes,
};
use platform::{public_url::PublicUrl, secret::Secret};

use super::{
    oidc,
    parse::{data_keys, dpop_mode, inline_or_file, schemes, switch},
    reader::Reader,
    types::Mode,
    variables::{
        ACCESS_TOKEN_TTL, ALLOWED_GITHUB_LOGINS, ALLOWED_GITHUB_ORG, AUDIT_RETENTION,
        CLIENT_CREDENTIALS, CLIENT_DOCUMENTS, CLIENT_METADATA_DOCUMENTS, DATA_KEYS, DPOP,
        ENDED_GRANT_RETENTION, OAUTH_CLIENTS, REDIRECT_SCHEMES,
    },
};
use crate::product::Product;

/// Settings of the authorization server.
#[derive(Clone, Debug)]
pub struct OAuthConfig {
    /// `GITHUB_CLIENT_ID` and related variables; `None` if sign-in with GitHub is not configured.
    pub github: Option<GitHubSettings>,
    /// `ALLOWED_GITHUB_LOGINS` and `ALLOWED_GITHUB_ORG`: who may sign in with GitHub.
    pub access_policy: AccessPolicy,
    /// `OIDC_<NAME>_ISSUER` and related variables: the OpenID Connect providers, and who may sign in
    /// with each of them.
    pub oidc: Vec<OidcSettings>,
    /// `DATA_KEYS`: the secrets of the keys that encrypt tokens at identity providers, the current one
    /// first; see [`Config::data_keys`](super::Config::data_keys).
    pub data_keys: Vec<Secret>,
    /// `REDIRECT_SCHEMES`, and the built-in ones.
    pub redirect_schemes: Schemes,
    /// `OAUTH_CLIENTS`.
    pub clients: Vec<Client>,
    /// `CLIENT_METADATA_DOCUMENTS`: whether client metadata documents are fetched.
    pub client_documents: bool,
    /// `CLIENT_DOCUMENTS`: the client metadata documents that need not be fetched.
    pub known_documents: KnownDocuments,
    /// `CLIENT_CREDENTIALS`: whether service clients get access tokens for themselves.
    pub client_credentials: bool,
    /// `ACCESS_TOKEN_TTL`.
    pub access_token_ttl: Duration,
    /// `DPOP`.
    pub dpop: dpop::Mode,
    /// `AUDIT_RETENTION`.
    pub audit_retention: Duration,
    /// `ENDED_GRANT_RETENTION`.
    pub ended_grant_retention: Duration,
}

impl OAuthConfig {
    pub(super) fn read(
        reader: &mut Reader<'_>,
        mode: Mode,
        public_url: &PublicUrl,
        product: &Product,
    ) -> Self {
        let github = reader.github();
        if mode == Mode::Deployed {
            reader.require_identity_provider();
        }
        let oidc = oidc::providers(reader);
        let uses_github = github.is_some() || oidc.is_empty();
        let access_policy = access_policy(reader, uses_github);
        let data_keys = reader.parse(DATA_KEYS, data_keys).unwrap_or_default();
        let redirect_schemes = reader.parse(REDIRECT_SCHEMES, schemes).unwrap_or_default();
        let clients = reader.parse(OAUTH_CLIENTS, |text| {
            client::parse_preregistered(text, &redirect_schemes, product.scopes())
        });
        let client_documents = reader.parse(CLIENT_METADATA_DOCUMENTS, switch).unwrap_or(true);
        let known_documents = reader.parse(CLIENT_DOCUMENTS, |text| {
            KnownDocuments::parse(&inline_or_file(text)?, public_url.host(), &redirect_schemes)
        });
        Self {
            github,
            access_policy,
            oidc,
            data_keys,
            redirect_schemes,
            clients: clients.unwrap_or_default(),
            client_documents,
            known_documents: known_documents.unwrap_or_default(),
            client_credentials: reader.parse(CLIENT_CREDENTIALS, switch).unwrap_or(false),
            access_token_ttl: reader.duration(
                ACCESS_TOKEN_TTL,
                Duration::from_mins(1)..=access_token::MAX_CONFIGURED_TTL,
            ),
            dpop: reader.parse(DPOP, dpop_mode).unwrap_or_default(),
            audit_retention: reader.duration(AUDIT_RETENTION, days(1)..=days(3_650)),
            ended_grant_retention: reader
                .duration(ENDED_GRANT_RETENTION, grant::MIN_ENDED_RETENTION..=days(365)),
        }
    }
}

/// Reads who may sign in with GitHub. An empty list is a problem unless users sign in elsewhere only.
fn access_policy(reader: &mut Reader<'_>, uses_github: bool) -> AccessPolicy {
    let policy = AccessPolicy {
        logins: reader.parse(ALLOWED_GITHUB_LOGINS, github::parse_logins).unwrap_or_default(),
        org: reader.parse(ALLOWED_GITHUB_ORG, github::parse_org),
        ..AccessPolicy::default()
    };
    let is_open = uses_github && policy.org.is_none();
    if is_open && reader.is_set_but_empty(ALLOWED_GITHUB_LOGINS.name) {
        let problem = format!("{} {}", ALLOWED_GITHUB_LOGINS.name, github::empty_list_error());
        reader.problems.push(problem);
    }
    policy
}

const fn days(number: u64) -> Duration {
    Duration::from_hours(24 * number)
}
