//! What the product does, without HTTP and without a schedule.
//!
//! | to … | look at |
//! |---|---|
//! | see what can be configured | [`config`] |
//! | add a tool, resource or prompt | [`tools`], [`resources`], [`prompts`] |
//! | work with notes | [`notes`] |
//! | know who somebody is | [`users`] |
//! | mint or verify an access token | [`oauth::access_token`], [`oauth::signing_keys`] |
//! | tell listeners about a change | [`changes`] |
//! | count something | [`metrics`] |
//!
//! Everything hangs on a [`Service`], which is made once and passed down. Time comes from its clock,
//! the environment is read in `config` alone, and no module keeps a global: two services run in one
//! process without knowing of each other.

use std::{fmt, sync::Arc, time::Duration};

use ::jobs::Queue;
use chrono::{DateTime, Utc};
use platform::{clock::Clock, db::Database, fetch::Fetcher};
use tokio::time::timeout;

use crate::{
    config::Config,
    model::Model,
    oauth::{
        access::JobAccess, access_token::AccessTokens, cimd::Fetching, github::GitHub,
        limits::Limiter, pending::PendingStore, revoked::RevokedGrants, signing_keys::SigningKeys,
    },
};

mod admission;
mod catalog;
pub mod changes;
pub mod config;
mod dependencies;
pub mod exports;
pub mod health;
pub mod metrics;
mod model;
pub mod notes;
pub mod oauth;
pub mod prompts;
pub mod redis;
pub mod resources;
pub mod tools;
pub mod users;

pub use catalog::{catalog, mcp_settings};
pub use dependencies::Dependencies;

/// How long a process that ends waits until its last totals are written. They are also in the next
/// write of another process, except for what happened in the last seconds.
const LAST_WRITE_TIMEOUT: Duration = Duration::from_secs(1);

/// What every verb works with. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Service(Arc<Inner>);

struct Inner {
    config: Config,
    db: Database,
    given: Dependencies,
    fetcher: Arc<Fetcher>,
    fetching: Fetching,
    github: Option<GitHub>,
    model: Option<Model>,
    keys: SigningKeys,
    revoked: RevokedGrants,
    started_at: DateTime<Utc>,
    tokens: AccessTokens,
    health: health::Cache,
    sampler: metrics::Sampler,
    jobs: Queue,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Service")
    }
}

impl Service {
    /// Opens the database, with stores of this process. The schema is not looked at, so it may be
    /// migrated afterwards; the signing keys are read, or made, when they are first needed.
    pub async fn connect(
        config: &Config,
        clock: Arc<dyn Clock>,
        bus: Arc<dyn mcp::Bus>,
    ) -> anyhow::Result<Self> {
        Self::connect_with(config, Dependencies::in_process(clock, bus)).await
    }

    /// The same with any stores, which several instances may share.
    pub async fn connect_with(config: &Config, mut given: Dependencies) -> anyhow::Result<Self> {
        given.limiter = metrics::limiter(given.limiter);
        let clock = Arc::clone(&given.clock);
        let db = platform::db::connect(&config.database).await?;
        let keys = SigningKeys::new(db.clone(), Arc::clone(&clock), &config.jwt_signing_secret);
        let revoked = RevokedGrants::new(db.clone(), Arc::clone(&clock));
        let tokens = AccessTokens::new(
            config.public_url.as_str(),
            &config.public_url.mcp(),
            config.access_token_ttl,
            keys.clone(),
            revoked.clone(),
            Arc::clone(&clock),
        );
        let fetcher = Arc::new(Fetcher::new(
            Arc::clone(&given.resolver),
            given.roots.clone(),
            config.proxies.clone(),
            config.public_url.as_str(),
        ));
        let jobs = Queue::new(jobs::Parts {
            db: db.clone(),
            clock: Arc::clone(&clock),
            bus: Arc::clone(&given.bus),
            access: Arc::new(JobAccess(db.clone())),
            quota: config.job_quota,
            tools: tools::jobs(),
        });
        let proxies = || config.proxies.clone();
        Ok(Self(Arc::new(Inner {
            config: config.clone(),
            db,
            fetching: Fetching::new(Arc::clone(&fetcher), Arc::clone(&given.documents), config),
            fetcher,
            github: config.github.clone().map(|it| GitHub::new(it, proxies())),
            model: config.model.clone().map(|it| Model::new(it, proxies())),
            given,
            keys,
            revoked,
            started_at: clock.now(),
            tokens,
            health: health::Cache::default(),
            sampler: metrics::Sampler::default(),
            jobs,
        })))
    }

    /// The configuration that it was made with.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// The pool of database connections, for what no person asks for.
    pub fn db(&self) -> &Database {
        &self.0.db
    }

    /// The pool for what this person asks for: only a part of it, so that the others find a
    /// connection, too.
    pub fn db_of(&self, user: &mcp::UserId) -> Database {
        self.0.db.of_person(user.as_str())
    }

    /// Where the time comes from.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.given.clock
    }

    /// The queue of jobs.
    pub fn jobs(&self) -> &Queue {
        &self.0.jobs
    }

    /// Where half-done sign-ins wait.
    pub fn pending(&self) -> &dyn PendingStore {
        &*self.0.given.pending
    }

    /// What counts how often somebody does something.
    pub fn limiter(&self) -> &dyn Limiter {
        &*self.0.given.limiter
    }

    /// How documents of clients are fetched.
    pub(crate) fn fetching(&self) -> &Fetching {
        &self.0.fetching
    }

    /// What fetches documents that somebody else's request names.
    pub(crate) fn fetcher(&self) -> &Fetcher {
        &self.0.fetcher
    }

    /// GitHub, if people sign in there.
    pub(crate) fn github(&self) -> Option<&GitHub> {
        self.0.github.as_ref()
    }

    /// The language model to ask, if one is configured.
    pub(crate) fn model(&self) -> Option<&Model> {
        self.0.model.as_ref()
    }

    /// The keys that sign access tokens.
    pub fn keys(&self) -> &SigningKeys {
        &self.0.keys
    }

    /// What was revoked lately.
    pub fn revoked(&self) -> &RevokedGrants {
        &self.0.revoked
    }

    /// When this instance started, by its clock.
    pub(crate) fn started_at(&self) -> DateTime<Utc> {
        self.0.started_at
    }

    /// Mints and verifies access tokens.
    pub fn tokens(&self) -> &AccessTokens {
        &self.0.tokens
    }

    /// Writes what was counted and closes the connections after the statements that are running, so
    /// that the process can end. Takes a few seconds at most, whatever the database does.
    pub async fn close(&self) {
        match timeout(LAST_WRITE_TIMEOUT, jobs::write_totals(self.jobs())).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(
                    dependency = error.dependency(), %error,
                    "Could not count the last jobs"
                );
            }
            Err(_) => tracing::warn!("Could not count the last jobs in time"),
        }
        self.0.db.close().await;
    }

    fn bus(&self) -> &dyn mcp::Bus {
        &*self.0.given.bus
    }

    /// Whether Redis has lately refused a write because it is full.
    pub(crate) fn is_redis_full(&self) -> bool {
        self.0.given.redis.as_ref().is_some_and(mcp::store::redis::Connection::is_full)
    }

    fn sampler(&self) -> &metrics::Sampler {
        &self.0.sampler
    }

    fn health_cache(&self) -> &health::Cache {
        &self.0.health
    }
}
