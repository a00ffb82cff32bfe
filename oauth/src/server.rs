//! The authorization server: its settings, stores and dependencies.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use entity::{GrantId, Kid};
use mcp::{Bus, ContentKeys, Signal, UserId, store::redis::Connection};
use platform::{
    clock::Clock,
    db::{Database, Failure, Transaction},
    fetch::Fetcher,
    public_url::PublicUrl,
    secret::Secret,
    signals,
};

use crate::{
    access_token::AccessTokens,
    calls::CallCounts,
    cimd::{self, Documents, Fetching, KnownDocuments},
    client::Client,
    data_keys::DataKeys,
    dpop::{self, Dpop},
    limits::{self, Limiter},
    login::{provider::IdentityProvider, users},
    pending::{self, PendingStore},
    redirect_uri::Schemes,
    redis,
    revoked::RevokedGrants,
    scope::ScopeList,
    service_client::ClientKeys,
    signing_keys::SigningKeys,
    used_ids::{self, UsedIds},
};

/// Settings of the authorization server, made by the operator.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The issuer.
    pub public_url: PublicUrl,
    /// What users keep here, in the plural, such as `notes`.
    pub things: &'static str,
    /// The scopes of the product.
    pub scopes: ScopeList,
    /// The identity providers ([`crate::login::providers`]), in the order in which pages show them.
    pub providers: Vec<Arc<dyn IdentityProvider>>,
    /// The keys that encrypt stored tokens of users at identity providers.
    pub data_keys: DataKeys,
    /// Private-use URI schemes that redirect URIs of native applications may have.
    pub redirect_schemes: Schemes,
    /// Preregistered clients.
    pub clients: Vec<Client>,
    /// Whether client metadata documents are fetched.
    pub client_documents: bool,
    /// Client metadata documents that are not fetched.
    pub known_documents: KnownDocuments,
    /// The secret that encrypts the signing keys in the database.
    pub jwt_signing_secret: Secret,
    /// Whether service clients get access tokens for themselves (client credentials).
    pub client_credentials: bool,
    /// The lifetime of access tokens.
    pub access_token_ttl: Duration,
    /// Whether clients may or have to bind their tokens to a key (DPoP).
    pub dpop: dpop::Mode,
    /// How long entries of the audit log are kept.
    pub audit_retention: Duration,
    /// How long ended grants and their refresh tokens are kept.
    pub ended_grant_retention: Duration,
}

/// Stores for pending sign-ins, rate limits, client documents and used ids: in Redis, or in one process.
#[derive(Clone)]
pub struct Stores {
    /// Pending authorizations and sign-ins.
    pub pending: Arc<dyn PendingStore>,
    /// Rate limits.
    pub limiter: Arc<dyn Limiter>,
    /// Fetched client metadata documents.
    pub documents: Arc<dyn Documents>,
    /// The ids of DPoP proofs and assertions that were used.
    pub used_ids: Arc<dyn UsedIds>,
}

impl Stores {
    /// Creates stores in the memory of this process, for a single instance.
    pub fn in_process(clock: &Arc<dyn Clock>) -> Self {
        Self {
            pending: Arc::new(pending::InProcess::new(Arc::clone(clock))),
            limiter: Arc::new(limits::InProcess::new(Arc::clone(clock))),
            documents: Arc::new(cimd::InProcess::new(Arc::clone(clock))),
            used_ids: Arc::new(used_ids::InProcess::new(Arc::clone(clock))),
        }
    }

    /// Creates stores in Redis, which all instances share. `keys`: encrypt pending sign-ins.
    pub fn in_redis(connection: &Connection, clock: &Arc<dyn Clock>, keys: ContentKeys) -> Self {
        Self {
            pending: Arc::new(redis::Pending::new(connection.clone(), Arc::clone(clock), keys)),
            limiter: Arc::new(redis::Limits::new(connection.clone(), Arc::clone(clock))),
            documents: Arc::new(redis::SharedDocuments::new(connection.clone(), Arc::clone(clock))),
            used_ids: Arc::new(redis::SharedUsedIds::new(connection.clone())),
        }
    }
}

/// The access that has ended.
#[derive(Clone, Debug)]
pub enum EndedAccess {
    /// All access of a user.
    OfPerson(UserId),
    /// The access of these grants, each with the `sub` of its user.
    OfGrants(Vec<(String, GrantId)>),
    /// Everything that was started with access tokens signed by this key.
    OfKey(Kid),
}

/// How many resources of a user were deleted, with their name for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removed {
    /// The number of deleted resources.
    pub count: u64,
    /// The singular name of the resource.
    pub one: &'static str,
    /// The plural name of the resource.
    pub many: &'static str,
}

/// Callbacks into the parts of the service that depend on accounts and access. Through them the
/// authorization server stays independent of jobs and of the product's own data.
#[async_trait]
pub trait Dependents: Send + Sync {
    /// Deletes everything that a user owns, as part of the deletion of the account. If this fails,
    /// the transaction is rolled back.
    async fn delete_owned(
        &self,
        transaction: &Transaction,
        user: &UserId,
    ) -> Result<Removed, Failure>;

    /// Cleans up after the deletion was committed: deletes what was written concurrently. Logs
    /// failures.
    async fn account_deleted(&self, user: &UserId);

    /// Stops jobs and other work that runs with access that has ended. Safe to repeat. The caller
    /// logs a failure; work that is still running is stopped at its next access check.
    async fn access_ended(&self, ended: EndedAccess) -> Result<(), Failure>;
}

/// Dependencies of a [`Server`], besides its settings.
pub struct Parts {
    /// The database with the OAuth tables and `users`.
    pub db: Database,
    /// The clock that all lifetimes are measured with.
    pub clock: Arc<dyn Clock>,
    /// Publishes revocations to other instances.
    pub bus: Arc<dyn Bus>,
    /// The stores that instances share.
    pub stores: Stores,
    /// Fetches client metadata documents, and keys of clients.
    pub fetcher: Arc<Fetcher>,
    /// Callbacks into what depends on accounts and access.
    pub dependents: Arc<dyn Dependents>,
}

/// The authorization server. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Server(Arc<Inner>);

struct Inner {
    settings: Settings,
    parts: Parts,
    fetching: Fetching,
    client_keys: ClientKeys,
    keys: SigningKeys,
    revoked: RevokedGrants,
    tokens: AccessTokens,
    dpop: Dpop,
    calls: CallCounts,
    started_at: DateTime<Utc>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Server")
    }
}

impl Server {
    /// Creates a server with these settings. The signing keys are loaded, or created, at first use.
    pub fn new(settings: Settings, parts: Parts) -> Self {
        let clock = &parts.clock;
        let keys =
            SigningKeys::new(parts.db.clone(), Arc::clone(clock), &settings.jwt_signing_secret);
        let revoked = RevokedGrants::new(parts.db.clone(), Arc::clone(clock));
        let tokens = AccessTokens::new(
            settings.public_url.as_str(),
            &settings.public_url.mcp(),
            settings.access_token_ttl,
            keys.clone(),
            revoked.clone(),
            Arc::clone(clock),
        );
        let dpop = Dpop::new(
            settings.dpop,
            &settings.public_url,
            settings.data_keys.clone(),
            Arc::clone(&parts.stores.used_ids),
            Arc::clone(clock),
        );
        let documents = Arc::clone(&parts.stores.documents);
        let fetching = Fetching::new(
            Arc::clone(&parts.fetcher),
            documents,
            settings.public_url.host(),
            &settings.redirect_schemes,
        );
        let client_keys = ClientKeys::new(
            Arc::clone(&parts.fetcher),
            Arc::clone(&parts.stores.limiter),
            settings.public_url.host(),
        );
        let started_at = clock.now();
        let calls = CallCounts::default();
        Self(Arc::new(Inner {
            settings,
            parts,
            fetching,
            client_keys,
            keys,
            revoked,
            tokens,
            dpop,
            calls,
            started_at,
        }))
    }

    /// Returns the settings.
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// Returns the database, for statements that are not on behalf of a single user.
    pub fn db(&self) -> &Database {
        &self.0.parts.db
    }

    /// Returns the database for statements on behalf of one user, whose share of the connection
    /// pool is limited.
    pub fn db_of(&self, user: &UserId) -> Database {
        self.0.parts.db.of_person(user.as_str())
    }

    /// Returns the clock that all lifetimes are measured with.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.parts.clock
    }

    /// Returns the store of pending authorizations and sign-ins.
    pub fn pending(&self) -> &dyn PendingStore {
        &*self.0.parts.stores.pending
    }

    /// Returns the record of used ids.
    pub(crate) fn used_ids(&self) -> &dyn UsedIds {
        &*self.0.parts.stores.used_ids
    }

    /// Returns the rate limiter.
    pub fn limiter(&self) -> &dyn Limiter {
        &*self.0.parts.stores.limiter
    }

    pub(crate) fn fetching(&self) -> &Fetching {
        &self.0.fetching
    }

    pub(crate) fn client_keys(&self) -> &ClientKeys {
        &self.0.client_keys
    }

    /// Returns whether identity assertions (ID-JAG) of an identity provider are accepted.
    pub fn accepts_id_jags(&self) -> bool {
        self.providers().iter().any(|provider| provider.assertion_issuer().is_some())
    }

    /// Returns the identity provider with this issuer, if its identity assertions are accepted.
    pub(crate) fn provider_by_issuer(&self, issuer: &str) -> Option<&dyn IdentityProvider> {
        let mut providers = self.providers().iter();
        providers.find(|it| it.assertion_issuer() == Some(issuer)).map(|provider| &**provider)
    }

    /// Returns the identity providers.
    pub fn providers(&self) -> &[Arc<dyn IdentityProvider>] {
        &self.0.settings.providers
    }

    /// Returns the identity provider with this id, or the first one for `None`. `None`: there is no
    /// such provider.
    pub(crate) fn provider_or_first(&self, id: Option<&str>) -> Option<&dyn IdentityProvider> {
        match id {
            Some(id) => self.provider_named(id),
            None => self.providers().first().map(|provider| &**provider),
        }
    }

    /// Returns the identity provider with this id, if it is configured.
    pub(crate) fn provider_named(&self, id: &str) -> Option<&dyn IdentityProvider> {
        self.providers().iter().find(|it| it.id() == id).map(|provider| &**provider)
    }

    /// Returns the identity provider of a user, if it is configured, and the subject there.
    pub(crate) fn provider_of<'a>(
        &self,
        user: &'a UserId,
    ) -> Option<(&dyn IdentityProvider, &'a str)> {
        let (provider, subject) = users::provider_and_subject(user)?;
        Some((self.provider_named(provider)?, subject))
    }

    /// Returns the keys that sign access tokens.
    pub fn keys(&self) -> &SigningKeys {
        &self.0.keys
    }

    /// Returns the in-memory record of recent revocations.
    pub fn revoked(&self) -> &RevokedGrants {
        &self.0.revoked
    }

    /// Returns the issuer and verifier of access tokens.
    pub fn tokens(&self) -> &AccessTokens {
        &self.0.tokens
    }

    /// Returns the checks of DPoP proofs.
    pub fn dpop(&self) -> &Dpop {
        &self.0.dpop
    }

    /// Returns the calls that this instance has counted and not written yet.
    pub fn calls(&self) -> &CallCounts {
        &self.0.calls
    }

    /// Returns when this instance started, by its clock.
    pub(crate) fn started_at(&self) -> DateTime<Utc> {
        self.0.started_at
    }

    pub(crate) fn bus(&self) -> &dyn Bus {
        &*self.0.parts.bus
    }

    pub(crate) fn dependents(&self) -> &dyn Dependents {
        &*self.0.parts.dependents
    }

    /// Publishes the signals of one transaction. Call it after the commit.
    pub(crate) async fn changed(&self, signals: Vec<Signal>) {
        signals::publish(self.bus(), signals).await;
    }
}
