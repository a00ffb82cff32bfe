//! Any OpenID Connect provider as an identity provider: the authorization code flow with PKCE, and a
//! nonce (OpenID Connect Core 1.0, section 3.1).
//!
//! | part | module |
//! |---|---|
//! | the settings of one provider | `settings` |
//! | its discovery document | `discovery` |
//! | requests to its endpoints | `http` |
//! | the verification of ID tokens | `id_token` |
//! | what claims say about a user | `claims` |
//! | differences of well-known providers | `known` |
//!
//! Each provider has its own callback path and its own pending logins, so that the response of one
//! cannot be taken for that of another (mix-up). Its issuer comes from the configuration, so it may be
//! in an internal network; redirects are not followed, and every response is bounded in time and size.

use std::sync::Arc;

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use jsonwebtoken::DecodingKey;
use platform::secret::Secret;
use serde_json::{Map, Value};

mod claims;
mod discovery;
mod error;
mod http;
mod id_token;
mod known;
mod settings;

pub use self::settings::{OidcSettings, ProviderName};
use self::{
    claims::UserClaims,
    discovery::Metadata,
    error::{INVALID_GRANT, OidcError},
    http::Http,
    id_token::{Expected, IdToken},
    known::{Known, OFFLINE_ACCESS},
};
use super::{
    policy::AccessPolicy,
    provider::{
        AssertionError, Attributes, CallbackResult, CodeExchange, Deadline, Destination,
        ISSUER_PARAMETER, Identity, IdentityProvider, InvalidCallback, ProviderError, Renewal,
        VerifiedAssertion,
    },
    settings::ProviderSettings,
};
use crate::{
    cached::Cached,
    jwt::{self, KeySet, Unverified},
    key_cache::KeyCache,
    pkce::{Challenge, METHOD, Verifier},
};

/// The maximum length of a code, in bytes. Those of Microsoft have about a kilobyte.
const MAX_CODE_BYTES: usize = 4 * 1024;

/// An OpenID Connect provider.
#[derive(Debug)]
struct Oidc {
    settings: OidcSettings,
    known: Known,
    label: String,
    /// The path of the callback.
    callback_path: String,
    /// The redirect URI that is registered with the provider.
    callback: String,
    /// The kind of the records of pending logins.
    record_kind: String,
    http: Http,
    metadata: Cached<Metadata>,
    keys: KeyCache,
}

/// The tokens that a provider issues.
struct Tokens {
    id: Option<String>,
    access: Option<Secret>,
    refresh: Option<Secret>,
}

/// A user, according to the claims of an ID token and of the userinfo endpoint.
struct Verified {
    id_token: IdToken,
    userinfo: Option<Map<String, Value>>,
}

/// Returns the OpenID Connect providers that are configured.
pub(super) fn configured(
    settings: &ProviderSettings,
) -> impl Iterator<Item = Arc<dyn IdentityProvider>> + '_ {
    settings.oidc.iter().map(|oidc| Arc::new(Oidc::new(oidc.clone(), settings)) as _)
}

impl Oidc {
    fn new(oidc: OidcSettings, settings: &ProviderSettings) -> Self {
        let callback_path = format!("/oauth/{}/callback", oidc.name);
        Self {
            known: Known::of(&oidc.issuer),
            label: oidc.label.clone().unwrap_or_else(|| oidc.name.label()),
            callback: format!("{}{callback_path}", settings.public_url),
            callback_path,
            record_kind: format!("oidc-{}", oidc.name),
            http: Http::new(oidc.name.as_str(), settings.proxies.clone(), settings.program),
            metadata: Cached::new(oidc.name.as_str(), "endpoints"),
            keys: KeyCache::new(oidc.name.as_str()),
            settings: oidc,
        }
    }

    async fn metadata(&self, deadline: Deadline) -> Result<Arc<Metadata>, OidcError> {
        self.metadata.get(deadline, |deadline| self.fetch_metadata(deadline)).await
    }

    async fn fetch_metadata(&self, deadline: Deadline) -> Result<Metadata, OidcError> {
        let OidcSettings { issuer, client_secret, .. } = &self.settings;
        match self.http.document(&discovery::url(issuer), deadline).await {
            Ok(document) => Metadata::read(&document, issuer, client_secret.is_some()),
            Err(OidcError::Unusable(_)) => {
                Err(OidcError::Discovery("there is none at this issuer"))
            }
            Err(error) => Err(error),
        }
    }

    async fn fetch_keys(
        &self,
        metadata: &Metadata,
        deadline: Deadline,
    ) -> Result<KeySet, OidcError> {
        let document = self.http.document(metadata.jwks_uri.as_str(), deadline).await?;
        KeySet::read(&document).ok_or(OidcError::Unusable("the keys are not a JWK Set"))
    }

    fn authorize_url(&self, metadata: &Metadata, state: &str, verifier: &Verifier) -> String {
        let offline = self.settings.scopes.iter().any(|scope| scope == OFFLINE_ACCESS);
        let scopes = self.settings.scopes.iter().map(String::as_str);
        let scopes: Vec<_> = scopes.filter(|scope| !self.known.replaces(scope)).collect();
        let mut url = metadata.authorization_endpoint.clone();
        let mut query = url.query_pairs_mut();
        query
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.settings.client_id)
            .append_pair("redirect_uri", &self.callback)
            .append_pair("scope", &scopes.join(" "))
            .append_pair("state", state)
            .append_pair("nonce", &nonce(verifier.expose()))
            .append_pair("code_challenge", &Challenge::of(verifier).to_string())
            .append_pair("code_challenge_method", METHOD);
        if let Some(prompt) = self.known.prompt(metadata.prompts.as_deref(), offline) {
            query.append_pair("prompt", &prompt);
        }
        if offline && self.known.replaces(OFFLINE_ACCESS) {
            query.append_pair("access_type", "offline");
        }
        drop(query);
        url.into()
    }

    /// Sends a request to the token endpoint.
    async fn tokens(
        &self,
        metadata: &Metadata,
        parameters: &[(&str, &str)],
        deadline: Deadline,
    ) -> Result<Tokens, OidcError> {
        let (endpoint, auth) = (&metadata.token_endpoint, metadata.client_auth);
        let response = self.http.token(endpoint, auth, &self.settings, parameters, deadline);
        let response = response.await?;
        let text =
            |member| response.get(member).and_then(Value::as_str).filter(|it| !it.is_empty());
        Ok(Tokens {
            id: text("id_token").map(str::to_owned),
            access: text("access_token").map(Secret::new),
            refresh: text("refresh_token").map(Secret::new),
        })
    }

    /// Verifies an ID token.
    async fn verify(
        &self,
        metadata: &Metadata,
        token: &str,
        nonce: Option<&str>,
        now: DateTime<Utc>,
        deadline: Deadline,
    ) -> Result<IdToken, OidcError> {
        let OidcSettings { issuer, client_id, .. } = &self.settings;
        let expected = Expected { issuer, client_id, nonce, now };
        let token = Unverified::read(token)?;
        self.with_key(metadata, &token, deadline, |key| expected.verify(&token, key)).await
    }

    /// Verifies a token with the key of the provider that it names.
    async fn with_key<T>(
        &self,
        metadata: &Metadata,
        token: &Unverified<'_>,
        deadline: Deadline,
        verify: impl Fn(&DecodingKey) -> Result<T, OidcError>,
    ) -> Result<T, OidcError> {
        let fetch = |deadline| self.fetch_keys(metadata, deadline);
        let verified = self.keys.with_key(token, deadline, fetch, verify).await?;
        verified.unwrap_or(Err(OidcError::IdToken("its key is unknown")))
    }

    /// Asks the userinfo endpoint about the user of an ID token, if that `lacks` claims.
    async fn with_userinfo(
        &self,
        metadata: &Metadata,
        id_token: IdToken,
        lacks: bool,
        access_token: Option<&Secret>,
        deadline: Deadline,
    ) -> Result<Verified, OidcError> {
        let (true, Some(endpoint), Some(token)) =
            (lacks, &metadata.userinfo_endpoint, access_token)
        else {
            return Ok(Verified { id_token, userinfo: None });
        };
        let userinfo = self.http.userinfo(endpoint, token, deadline).await?;
        // Section 5.3.2: otherwise the response may be about another user.
        if jwt::subject(&userinfo) != Some(&*id_token.subject) {
            return Err(OidcError::Unusable("the userinfo endpoint describes another user"));
        }
        Ok(Verified { id_token, userinfo: Some(userinfo) })
    }

    fn claims_of<'a>(&self, user: &'a Verified) -> UserClaims<'a> {
        let claims = &user.id_token.claims;
        if !self.settings.policy.groups.is_empty()
            && claims::has_too_many_groups(claims, self.groups_claim())
        {
            tracing::warn!(
                dependency = self.settings.name.as_str(),
                "{} left out the groups of a user, because there are too many. Let it send only \
                 the groups that are assigned to this client, or use roles; docs/sign-in.md says how",
                self.label
            );
        }
        UserClaims { id_token: claims, userinfo: user.userinfo.as_ref() }
    }

    async fn sign_in(&self, exchange: CodeExchange<'_>) -> Result<Identity, OidcError> {
        let CodeExchange { code, verifier, now, deadline } = exchange;
        let metadata = self.metadata(deadline).await?;
        let parameters = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &self.callback),
            ("code_verifier", verifier),
        ];
        let tokens = self.tokens(&metadata, &parameters, deadline).await?;
        let id_token = tokens.id.ok_or(OidcError::Unusable("it has no ID token"))?;
        let nonce = nonce(verifier);
        let id_token = self.verify(&metadata, &id_token, Some(&nonce), now, deadline).await?;
        let access_token = tokens.access.as_ref();
        let lacks =
            claims::lacks_names(&id_token.claims, self.known) || self.lacks_attributes(&id_token);
        let user = self.with_userinfo(&metadata, id_token, lacks, access_token, deadline).await?;
        let claims = self.claims_of(&user);
        Ok(Identity {
            login: claims.login(self.known).unwrap_or_else(|| user.id_token.subject.clone()),
            listed_as: claims.verified_email(self.known),
            name: claims.name(),
            attributes: claims.attributes(self.groups_claim(), self.known),
            token: tokens.refresh,
            subject: user.id_token.subject,
        })
    }

    /// Verifies the signature of an identity assertion, and reads what it says about the user.
    async fn verified_assertion(
        &self,
        assertion: &str,
        deadline: Deadline,
    ) -> Result<VerifiedAssertion, OidcError> {
        let token = Unverified::read(assertion)?;
        let metadata = self.metadata(deadline).await?;
        let verify = |key: &DecodingKey| Ok(token.verify(key)?);
        let claims = self.with_key(&metadata, &token, deadline, verify).await?;
        let subject = jwt::subject(&claims).ok_or(OidcError::IdToken("it has no valid subject"))?;
        let user = UserClaims { id_token: &claims, userinfo: None };
        let identity = Identity {
            subject: subject.to_owned(),
            login: user.login(self.known).unwrap_or_else(|| subject.to_owned()),
            listed_as: user.verified_email(self.known),
            name: user.name(),
            attributes: user.attributes(self.groups_claim(), self.known),
            token: None,
        };
        let missing = claims::missing_for_policy(&claims, self.policy(), self.known);
        Ok(VerifiedAssertion { claims, identity, missing })
    }

    async fn refresh(
        &self,
        token: &Secret,
        subject: &str,
        now: DateTime<Utc>,
        deadline: Deadline,
    ) -> Result<Renewal, OidcError> {
        let metadata = self.metadata(deadline).await?;
        let parameters = [("grant_type", "refresh_token"), ("refresh_token", token.expose())];
        let tokens = match self.tokens(&metadata, &parameters, deadline).await {
            Err(OidcError::Refused(code)) if code == INVALID_GRANT => return Ok(Renewal::Ended),
            tokens => tokens?,
        };
        // Optional after a refresh (section 12.2). Without it the attributes are unknown, and a new
        // sign-in shows them.
        let Some(id_token) = &tokens.id else { return Ok(Renewal::Ended) };
        let access_token = tokens.access.as_ref();
        let attributes =
            self.attributes(&metadata, id_token, access_token, subject, now, deadline).await;
        let attributes = attributes.map_err(|error| error.at(&self.label));
        Ok(Renewal::Active { attributes, token: tokens.refresh })
    }

    /// Returns the attributes of the user `subject`, according to the tokens of a refresh.
    async fn attributes(
        &self,
        metadata: &Metadata,
        id_token: &str,
        access_token: Option<&Secret>,
        subject: &str,
        now: DateTime<Utc>,
        deadline: Deadline,
    ) -> Result<Attributes, OidcError> {
        let id_token = self.verify(metadata, id_token, None, now, deadline).await?;
        if id_token.subject != subject {
            return Err(OidcError::IdToken("it is about another user"));
        }
        let lacks = self.lacks_attributes(&id_token);
        let user = self.with_userinfo(metadata, id_token, lacks, access_token, deadline).await?;
        Ok(self.claims_of(&user).attributes(self.groups_claim(), self.known))
    }

    /// Returns whether an ID token lacks claims that the access policy needs.
    fn lacks_attributes(&self, id_token: &IdToken) -> bool {
        !claims::missing_for_policy(&id_token.claims, self.policy(), self.known).is_empty()
    }

    fn groups_claim(&self) -> &str {
        &self.settings.policy.groups_claim
    }
}

#[async_trait]
impl IdentityProvider for Oidc {
    fn id(&self) -> &str {
        self.settings.name.as_str()
    }

    fn label(&self) -> &str {
        &self.label
    }

    fn callback_path(&self) -> Option<&str> {
        Some(&self.callback_path)
    }

    fn record_kind(&self) -> &str {
        &self.record_kind
    }

    fn access_report(&self) -> String {
        let who = self.policy().describe(&self.label);
        if self.policy().is_set() {
            return format!("{}: {who} may sign in", self.label);
        }
        let name = self.settings.name.as_str().to_ascii_uppercase();
        format!(
            "{who} may sign in; OIDC_{name}_ALLOWED_DOMAINS, OIDC_{name}_ALLOWED_GROUPS or \
             OIDC_{name}_ALLOWED_USERS limit it"
        )
    }

    fn policy(&self) -> &AccessPolicy {
        &self.settings.policy
    }

    async fn prepare(&self, deadline: Deadline) -> Result<(), ProviderError> {
        self.metadata(deadline).await.map(drop).map_err(|error| error.at(&self.label))
    }

    async fn start(
        &self,
        state: &str,
        verifier: &Verifier,
        deadline: Deadline,
    ) -> Result<Destination, ProviderError> {
        let metadata = self.metadata(deadline).await.map_err(|error| error.at(&self.label))?;
        Ok(Destination::External(self.authorize_url(&metadata, state, verifier)))
    }

    fn read_callback(
        &self,
        parameters: &[(String, String)],
    ) -> Result<CallbackResult, InvalidCallback> {
        // RFC 9207, section 2.4: if it is there, it has to be this issuer, whatever the provider says
        // about itself.
        let mut issuers = parameters.iter().filter(|(name, _)| name == ISSUER_PARAMETER);
        match (issuers.next(), issuers.next()) {
            (None, _) => {}
            (Some((_, issuer)), None) if *issuer == self.settings.issuer => {}
            _ => return Err(InvalidCallback::Malformed),
        }
        let refused = |error: &str| OidcError::refused(error).at(&self.label);
        CallbackResult::read(parameters, MAX_CODE_BYTES, refused)
    }

    async fn requires_issuer(&self, deadline: Deadline) -> Result<bool, ProviderError> {
        let metadata = self.metadata(deadline).await.map_err(|error| error.at(&self.label))?;
        Ok(metadata.sends_issuer)
    }

    async fn finish(&self, exchange: CodeExchange<'_>) -> Result<Identity, ProviderError> {
        self.sign_in(exchange).await.map_err(|error| error.at(&self.label))
    }

    async fn renew(
        &self,
        token: &Secret,
        subject: &str,
        now: DateTime<Utc>,
        deadline: Deadline,
    ) -> Result<Renewal, ProviderError> {
        let renewal = self.refresh(token, subject, now, deadline).await;
        renewal.map_err(|error| error.at(&self.label))
    }

    fn assertion_issuer(&self) -> Option<&str> {
        self.settings.id_jag.then_some(&*self.settings.issuer)
    }

    async fn verify_assertion(
        &self,
        assertion: &str,
        deadline: Deadline,
    ) -> Result<VerifiedAssertion, AssertionError> {
        self.verified_assertion(assertion, deadline).await.map_err(|error| match error {
            OidcError::IdToken(why) => AssertionError::Invalid(why),
            error => AssertionError::Provider(error.at(&self.label)),
        })
    }

    /// Fetches the discovery document and the keys. Client id and secret cannot be checked without a
    /// user.
    async fn check(&self) -> anyhow::Result<String> {
        let deadline = Deadline::start();
        let metadata = self.metadata(deadline).await?;
        self.fetch_keys(&metadata, deadline).await?;
        Ok(format!(
            "{} answers at {}; register the redirect URI {}",
            self.label, self.settings.issuer, self.callback
        ))
    }
}

/// Returns the nonce of a login (section 3.1.2.1). It is derived from the PKCE verifier, which is the
/// secret of the pending login, so that the ID token is bound to that login. It does not reveal the
/// verifier.
fn nonce(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(Secret::new(verifier).derive::<32>("oidc-nonce/v1"))
}

#[cfg(test)]
mod tests;
