//! The authorization server: what its rules work with.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use entity::{GrantId, Kid};
use mcp::{Bus, Signal, UserId, store::redis::Connection};
use platform::{
    clock::Clock,
    db::{Database, Failure, Transaction},
    fetch::Fetcher,
    proxies::Proxies,
    public_url::PublicUrl,
    secret::Secret,
    signals,
};

use crate::{
    access_token::AccessTokens,
    cimd::{self, Documents, Fetching, KnownDocuments},
    client::Client,
    data_keys::DataKeys,
    gate,
    github::{GitHub, GitHubSettings},
    limits::{self, Limiter},
    pending::{self, PendingStore},
    redirect_uri::Schemes,
    redis,
    revoked::RevokedGrants,
    signing_keys::SigningKeys,
};

/// What an operator decides about the authorization server.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The issuer.
    pub public_url: PublicUrl,
    /// Whether the server runs on one machine for one person, so that the development sign-in, which
    /// accepts any name, is safe: `PUBLIC_URL` and the listener are loopback addresses.
    pub is_private: bool,
    /// GitHub, if users sign in there.
    pub github: Option<GitHubSettings>,
    /// Who may sign in.
    pub gate: gate::Rules,
    /// The keys that seal stored tokens of GitHub.
    pub data_keys: DataKeys,
    /// Schemes of redirect URIs of native applications.
    pub redirect_schemes: Schemes,
    /// Preregistered clients.
    pub clients: Vec<Client>,
    /// Whether client metadata documents are fetched.
    pub client_documents: bool,
    /// Client metadata documents that are not fetched.
    pub known_documents: KnownDocuments,
    /// The secret that seals the signing keys.
    pub jwt_signing_secret: Secret,
    /// The lifetime of access tokens.
    pub access_token_ttl: Duration,
    /// How long entries of the audit log are kept.
    pub audit_retention: Duration,
    /// How long ended grants and their refresh tokens are kept.
    pub ended_grant_retention: Duration,
    /// The proxies to GitHub.
    pub proxies: Proxies,
}

/// What instances share of sign-ins: in Redis, or in one process.
#[derive(Clone)]
pub struct Stores {
    /// Pending authorizations and sign-ins.
    pub pending: Arc<dyn PendingStore>,
    /// Rate limits.
    pub limiter: Arc<dyn Limiter>,
    /// Fetched client metadata documents.
    pub documents: Arc<dyn Documents>,
}

impl Stores {
    /// Stores in this process, for a single instance.
    pub fn in_process(clock: &Arc<dyn Clock>) -> Self {
        Self {
            pending: Arc::new(pending::InProcess::new(Arc::clone(clock))),
            limiter: Arc::new(limits::InProcess::new(Arc::clone(clock))),
            documents: Arc::new(cimd::InProcess::new(Arc::clone(clock))),
        }
    }

    /// Stores in Redis, which instances share.
    pub fn in_redis(connection: &Connection, clock: &Arc<dyn Clock>) -> Self {
        Self {
            pending: Arc::new(redis::Pending::new(connection.clone(), Arc::clone(clock))),
            limiter: Arc::new(redis::Limits::new(connection.clone(), Arc::clone(clock))),
            documents: Arc::new(redis::KeptDocuments::new(connection.clone(), Arc::clone(clock))),
        }
    }
}

/// Whose access ended.
#[derive(Clone, Debug)]
pub enum EndedAccess {
    /// All access of a person.
    OfPerson(UserId),
    /// The access of these grants, each with the `sub` of its person.
    OfGrants(Vec<(String, GrantId)>),
    /// What came with tokens that this key signed.
    OfKey(Kid),
}

/// How many things of a person were deleted, in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removed {
    /// How many.
    pub count: u64,
    /// What one of them is called.
    pub one: &'static str,
    /// What several of them are called.
    pub many: &'static str,
}

/// What else depends on accounts and on access. The authorization server calls it, and knows nothing
/// of jobs or of what the product stores.
#[async_trait]
pub trait Dependents: Send + Sync {
    /// Deletes everything that a person owns, as a part of the deletion of the account. The
    /// transaction rolls back if this fails.
    async fn delete_owned(
        &self,
        transaction: &Transaction,
        user: &UserId,
    ) -> Result<Removed, Failure>;

    /// Called after the commit of the deletion, for what was written in the meantime. Logs failures.
    async fn account_deleted(&self, user: &UserId);

    /// Ends what runs with access that has ended. Safe to repeat. A failure is logged: what is still
    /// running is found at its next check.
    async fn access_ended(&self, whose: EndedAccess) -> Result<(), Failure>;
}

/// What a server is made of, besides its settings.
pub struct Parts {
    /// The database with the tables of OAuth and `users`.
    pub db: Database,
    /// The clock of every lifetime.
    pub clock: Arc<dyn Clock>,
    /// Carries revocations to other instances.
    pub bus: Arc<dyn Bus>,
    /// What instances share.
    pub stores: Stores,
    /// Fetches client metadata documents.
    pub fetcher: Arc<Fetcher>,
    /// What depends on accounts and access.
    pub dependents: Arc<dyn Dependents>,
}

/// The authorization server. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Server(Arc<Inner>);

struct Inner {
    settings: Settings,
    parts: Parts,
    fetching: Fetching,
    github: Option<GitHub>,
    keys: SigningKeys,
    revoked: RevokedGrants,
    tokens: AccessTokens,
    started_at: DateTime<Utc>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Server")
    }
}

impl Server {
    /// A server with these settings. The signing keys are read, or made, when they are first needed.
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
        let documents = Arc::clone(&parts.stores.documents);
        let fetching = Fetching::new(
            Arc::clone(&parts.fetcher),
            documents,
            settings.public_url.host(),
            &settings.redirect_schemes,
        );
        let github =
            settings.github.clone().map(|github| GitHub::new(github, settings.proxies.clone()));
        let started_at = clock.now();
        Self(Arc::new(Inner {
            settings,
            parts,
            fetching,
            github,
            keys,
            revoked,
            tokens,
            started_at,
        }))
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// The database, for statements that serve no single person.
    pub fn db(&self) -> &Database {
        &self.0.parts.db
    }

    /// The database for statements on behalf of one person, who uses only a part of the pool.
    pub fn db_of(&self, user: &UserId) -> Database {
        self.0.parts.db.of_person(user.as_str())
    }

    /// The clock of every lifetime.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.parts.clock
    }

    /// The store of pending authorizations and sign-ins.
    pub fn pending(&self) -> &dyn PendingStore {
        &*self.0.parts.stores.pending
    }

    /// The rate limits.
    pub fn limiter(&self) -> &dyn Limiter {
        &*self.0.parts.stores.limiter
    }

    pub(crate) fn fetching(&self) -> &Fetching {
        &self.0.fetching
    }

    /// GitHub, if users sign in there.
    pub(crate) fn github(&self) -> Option<&GitHub> {
        self.0.github.as_ref()
    }

    /// The keys that sign access tokens.
    pub fn keys(&self) -> &SigningKeys {
        &self.0.keys
    }

    /// What was revoked recently.
    pub fn revoked(&self) -> &RevokedGrants {
        &self.0.revoked
    }

    /// Mints and verifies access tokens.
    pub fn tokens(&self) -> &AccessTokens {
        &self.0.tokens
    }

    /// When this instance started, by its clock.
    pub(crate) fn started_at(&self) -> DateTime<Utc> {
        self.0.started_at
    }

    pub(crate) fn bus(&self) -> &dyn Bus {
        &*self.0.parts.bus
    }

    pub(crate) fn dependents(&self) -> &dyn Dependents {
        &*self.0.parts.dependents
    }

    /// Publishes what follows from one commit, after it.
    pub(crate) async fn changed(&self, signals: Vec<Signal>) {
        signals::publish(self.bus(), signals).await;
    }
}
