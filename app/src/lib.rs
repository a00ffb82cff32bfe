//! What the product does, without HTTP and without a schedule.
//!
//! | to … | look at |
//! |---|---|
//! | see what can be configured | [`config`] |
//! | add a tool, resource or prompt | [`tools`], [`resources`], [`prompts`] |
//! | work with notes | [`notes`] |
//! | know who a person is | [`oauth::login::users`] |
//! | mint or verify an access token | [`oauth::access_token`], [`oauth::signing_keys`] |
//! | tell listeners about a change | [`changes`] |
//! | count something | [`metrics`] |
//!
//! Everything hangs on a [`App`], which is made once and passed down. Time comes from its clock,
//! the environment is read in `config` alone, and no module keeps a global: two services run in one
//! process without knowing of each other.

use std::{fmt, sync::Arc, time::Duration};

use ::jobs::Queue;
use mcp::UserId;
use oauth::Server;
use platform::{
    clock::Clock,
    db::{Database, Failure},
    fetch::Fetcher,
};
use tokio::time::timeout;

use crate::{
    config::Config,
    dependents::{JobAccess, Owned},
    model::Model,
};

mod admission;
mod catalog;
pub mod changes;
pub mod config;
mod dependencies;
mod dependents;
pub mod exports;
pub mod health;
pub mod metrics;
mod model;
pub mod notes;
pub mod prompts;
pub mod redis;
pub mod resources;
pub mod tools;

pub use catalog::{catalog, mcp_settings};
pub use dependencies::Dependencies;

/// How long a process that ends waits until its last totals are written. They are also in the next
/// write of another process, except for what happened in the last seconds.
const LAST_WRITE_TIMEOUT: Duration = Duration::from_secs(1);

/// What every verb works with. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct App(Arc<Inner>);

struct Inner {
    config: Config,
    db: Database,
    given: Dependencies,
    fetcher: Arc<Fetcher>,
    model: Option<Model>,
    health: health::Cache,
    sampler: metrics::Sampler,
    jobs: Queue,
    oauth: Server,
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("App")
    }
}

impl App {
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
        given.oauth.limiter = metrics::limiter(given.oauth.limiter);
        let clock = Arc::clone(&given.clock);
        let db = platform::db::connect(&config.database).await?;
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
            access: Arc::new(JobAccess::new(db.clone())),
            quota: config.job_quota,
            tools: tools::jobs(),
        });
        let dependents = Owned::new(db.clone(), Arc::clone(&given.bus), jobs.clone());
        let oauth = Server::new(
            config.oauth(),
            oauth::Parts {
                db: db.clone(),
                clock: Arc::clone(&clock),
                bus: Arc::clone(&given.bus),
                stores: given.oauth.clone(),
                fetcher: Arc::clone(&fetcher),
                dependents: Arc::new(dependents),
            },
        );
        let model = config.model.clone().map(|model| Model::new(model, config.proxies.clone()));
        Ok(Self(Arc::new(Inner {
            config: config.clone(),
            db,
            fetcher,
            model,
            given,
            health: health::Cache::default(),
            sampler: metrics::Sampler::default(),
            jobs,
            oauth,
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

    /// The authorization server.
    pub fn oauth(&self) -> &Server {
        &self.0.oauth
    }

    /// How much a person keeps, and the quota.
    pub async fn notes_used(&self, user: &UserId) -> Result<notes::quota::Used, Failure> {
        let amount = notes::quota::usage(&self.db_of(user), user).await?;
        Ok(notes::quota::Used { used: amount, quota: self.config().note_quota })
    }

    /// How many unfinished jobs a person has, and the quota.
    pub async fn jobs_used(&self, user: &UserId) -> Result<::jobs::JobUsage, Failure> {
        ::jobs::usage(&self.db_of(user), user, self.jobs().quota()).await
    }

    /// The queue of jobs.
    pub fn jobs(&self) -> &Queue {
        &self.0.jobs
    }

    /// Fetches documents whose URL comes from a request.
    pub(crate) fn fetcher(&self) -> &Fetcher {
        &self.0.fetcher
    }

    /// The language model to ask, if one is configured.
    pub(crate) fn model(&self) -> Option<&Model> {
        self.0.model.as_ref()
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
