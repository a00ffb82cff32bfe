//! The composition root: configuration, connections, wiring, and the contract of a product.
//!
//! | to … | look at |
//! |---|---|
//! | describe a product | [`Product`], [`State`] |
//! | see what can be configured | [`config`] |
//! | offer a file for download | [`downloads`] |
//! | add pages to the account page | [`section`] |
//! | ask the operator's language model | [`model`] |
//! | see what is measured at a scrape | [`metrics`] |
//!
//! Everything depends on an [`App`], which is created once and passed down. Time comes from its clock,
//! only `config` reads the environment, and no module has global state, so several apps can run
//! independently in one process.

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
    dependents::{JobAccess, OwnedData},
    downloads::Downloads,
    model::Model,
};

pub mod config;
mod dependencies;
mod dependents;
pub mod downloads;
mod engine;
pub mod health;
pub mod metrics;
pub mod model;
mod product;
mod rate_limits;
pub mod redis;

pub use oauth::{
    Removed,
    limits::{Bucket, Limiter, per_minute},
    scope::Scope,
};

pub use self::{
    config::Reader,
    dependencies::Dependencies,
    engine::mcp_settings,
    product::{
        AnySettings, AnyState, BoundStep, Brand, Builder, Done, Platform, Product, ProductStep,
        Schedule, State, section,
    },
};

/// The timeout for writing the last totals when the process ends. If they are not written, only the
/// counts of the last seconds are lost.
const LAST_WRITE_TIMEOUT: Duration = Duration::from_secs(1);

/// The parts of a process, wired together. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct App(Arc<Inner>);

struct Inner {
    config: Config,
    db: Database,
    dependencies: Dependencies,
    downloads: Downloads,
    state: AnyState,
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
    /// Connects to the database, with stores in this process. Does not check the schema, which may
    /// be migrated later; the signing keys are read, or created, at first use.
    pub async fn connect(
        config: &Config,
        clock: Arc<dyn Clock>,
        bus: Arc<dyn mcp::Bus>,
    ) -> anyhow::Result<Self> {
        Self::connect_with(config, Dependencies::in_process(clock, bus)).await
    }

    /// Connects like [`Self::connect`], with stores that several instances may share.
    pub async fn connect_with(config: &Config, dependencies: Dependencies) -> anyhow::Result<Self> {
        let clock = Arc::clone(&dependencies.clock);
        let db = platform::db::connect(&config.database).await?;
        let fetcher = Arc::new(Fetcher::new(
            Arc::clone(&dependencies.resolver),
            dependencies.roots.clone(),
            config.proxies.clone(),
            config.product.brand().program,
            config.public_url.as_str(),
        ));
        let jobs = Queue::new(jobs::Parts {
            db: db.clone(),
            clock: Arc::clone(&clock),
            bus: Arc::clone(&dependencies.bus),
            access: Arc::new(JobAccess::new(db.clone())),
            content_keys: config.content_keys(),
            quota: config.job_quota,
            tools: config.product.job_tools(),
        });
        let (model, program) = (config.model.clone(), config.product.brand().program);
        let model = model.map(|model| Arc::new(Model::new(model, config.proxies.clone(), program)));
        let downloads = Downloads::new(db.clone(), Arc::clone(&clock), config.public_url.clone());
        let platform = Platform {
            db: db.clone(),
            clock: Arc::clone(&clock),
            bus: Arc::clone(&dependencies.bus),
            limiter: Arc::clone(&dependencies.oauth.limiter),
            fetcher: Arc::clone(&fetcher),
            model,
            jobs: jobs.clone(),
            downloads: downloads.clone(),
            public_url: config.public_url.clone(),
        };
        let state = config.product.state(platform, &config.product_settings);
        let dependents = OwnedData::new(state.clone(), Arc::clone(&dependencies.bus), jobs.clone());
        let oauth = Server::new(
            config.oauth(),
            oauth::Parts {
                db: db.clone(),
                clock: Arc::clone(&clock),
                bus: Arc::clone(&dependencies.bus),
                stores: dependencies.oauth.clone(),
                fetcher: Arc::clone(&fetcher),
                dependents: Arc::new(dependents),
            },
        );
        Ok(Self(Arc::new(Inner {
            config: config.clone(),
            db,
            downloads,
            state,
            dependencies,
            health: health::Cache::default(),
            sampler: metrics::Sampler::default(),
            jobs,
            oauth,
        })))
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// The pool of database connections, for work that no user requested.
    pub fn db(&self) -> &Database {
        &self.0.db
    }

    /// The part of the pool for the requests of one user, so that one user cannot occupy all
    /// connections.
    pub fn db_of(&self, user: &mcp::UserId) -> Database {
        self.0.db.of_person(user.as_str())
    }

    /// The clock.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.dependencies.clock
    }

    /// The signals between processes.
    pub fn bus(&self) -> &Arc<dyn mcp::Bus> {
        &self.0.dependencies.bus
    }

    /// The authorization server.
    pub fn oauth(&self) -> &Server {
        &self.0.oauth
    }

    /// Describes how much data a user has stored, and the quota. `Ok(None)`: the product does not
    /// report it.
    pub async fn usage(&self, user: &UserId) -> Result<Option<String>, Failure> {
        self.0.state.owner().usage(user).await
    }

    /// Counts the unfinished jobs of a user, with the quota.
    pub async fn jobs_used(&self, user: &UserId) -> Result<::jobs::JobUsage, Failure> {
        ::jobs::usage(&self.db_of(user), user, self.jobs().quota()).await
    }

    /// The queue of jobs.
    pub fn jobs(&self) -> &Queue {
        &self.0.jobs
    }

    /// The jobs of users, as a client sees them.
    pub fn job_store(&self) -> Arc<dyn mcp::job::Jobs> {
        ::jobs::store(self.jobs())
    }

    /// Files for download.
    pub fn downloads(&self) -> &Downloads {
        &self.0.downloads
    }

    /// The product that is served.
    pub fn product(&self) -> &Product {
        &self.config().product
    }

    /// The catalog of the product, with its state. With `READ_ONLY`, clients see only the tools that
    /// change nothing.
    pub fn catalog(&self) -> mcp::Catalog {
        let catalog = self.product().catalog(&self.config().public_url, &self.0.state);
        if self.config().read_only { catalog.read_only() } else { catalog }
    }

    /// The state of the product.
    ///
    /// # Panics
    /// If the product has another type of state.
    pub fn state<S: State>(&self) -> &S {
        self.0.state.of()
    }

    /// The state of the product, for [`BoundStep::run`].
    pub fn any_state(&self) -> &AnyState {
        &self.0.state
    }

    /// Checks that the database user has all privileges on the tables of base and product.
    pub async fn check_database_rights(&self) -> anyhow::Result<()> {
        platform::db::check_rights(self.db(), &product::all_tables(self.product())).await
    }

    /// Writes the last totals and counts, and closes the connections after the running statements. Takes at
    /// most a few seconds, even if the database does not respond.
    pub async fn close(&self) {
        let write = async {
            tokio::join!(jobs::write_totals(self.jobs()), oauth::calls::write(self.oauth()))
        };
        if let Ok((totals, calls)) = timeout(LAST_WRITE_TIMEOUT, write).await {
            for error in [totals.err(), calls.err()].into_iter().flatten() {
                tracing::warn!(
                    dependency = error.dependency(), %error,
                    "Could not write the last job totals or numbers of calls"
                );
            }
        } else {
            tracing::warn!(
                "Could not write the last job totals and numbers of calls: the database did not \
                 respond in time"
            );
        }
        self.0.db.close().await;
    }

    /// Checks the database within a second. The result may be up to two seconds old.
    pub async fn health(&self) -> health::Health {
        self.0.health.check(self.db(), self.config().database.max_connections).await
    }

    /// Whether Redis has refused a write of this instance within the last minute because it is full.
    /// Other instances have the same problem, so the load balancer must not avoid this one.
    pub fn is_redis_full(&self) -> bool {
        self.0.dependencies.redis.as_ref().is_some_and(mcp::store::redis::Connection::is_full)
    }

    fn sampler(&self) -> &metrics::Sampler {
        &self.0.sampler
    }
}
