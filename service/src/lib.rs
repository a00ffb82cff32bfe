//! What the product does, without HTTP and without a schedule.
//!
//! | to … | look at |
//! |---|---|
//! | see what can be configured | [`config`] |
//! | add a tool, resource or prompt | [`tools`], [`resources`], [`prompts`] |
//! | work with notes | [`notes`] |
//! | know who a person is | [`oauth::users`] |
//! | mint or verify an access token | [`oauth::access_token`], [`oauth::signing_keys`] |
//! | tell listeners about a change | [`changes`] |
//! | count something | [`metrics`] |
//!
//! Everything hangs on a [`Service`], which is made once and passed down. Time comes from its clock,
//! the environment is read in `config` alone, and no module keeps a global: two services run in one
//! process without knowing of each other.

use std::{fmt, sync::Arc, time::Duration};

use ::jobs::{DeniedJobs, Queue};
use async_trait::async_trait;
use entity::{exports as exports_table, jobs as jobs_table, notes as notes_table};
use mcp::{Caller, Signal, UserId};
use oauth::{
    EndedAccess, Removed, Server,
    access::{self, Authority},
    limits::Limiter,
};
use platform::{
    clock::Clock,
    db::{DATABASE, Database, Failure, Transaction},
    fetch::Fetcher,
    signals,
};
use sea_orm::{EntityTrait as _, QueryFilter as _};
use tokio::time::timeout;

use crate::{config::Config, model::Model};

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
pub struct Service(Arc<Inner>);

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
            access: Arc::new(JobAccess(db.clone())),
            quota: config.job_quota,
            tools: tools::jobs(),
        });
        let dependents =
            Arc::new(Owned { db: db.clone(), bus: Arc::clone(&given.bus), jobs: jobs.clone() });
        let oauth = Server::new(
            config.oauth(),
            oauth::Parts {
                db: db.clone(),
                clock: Arc::clone(&clock),
                bus: Arc::clone(&given.bus),
                stores: given.oauth.clone(),
                fetcher: Arc::clone(&fetcher),
                dependents,
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

    /// What counts how often somebody does something.
    pub fn limiter(&self) -> &dyn Limiter {
        &*self.0.given.oauth.limiter
    }

    /// What fetches documents that somebody else's request names.
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

/// What the queue asks about the access that jobs were started with.
struct JobAccess(Database);

#[async_trait]
impl ::jobs::Access for JobAccess {
    async fn ended(&self, callers: &[&Caller]) -> Result<Vec<Option<&'static str>>, Failure> {
        let authorities: Vec<_> = callers.iter().map(|caller| Authority::of(caller)).collect();
        let answers = access::denied_all(&self.0, &authorities).await?;
        Ok(answers.into_iter().map(|denied| Some(denied?.job_sentence())).collect())
    }
}

/// What ends with an account or with access: notes, exports and jobs.
struct Owned {
    db: Database,
    bus: Arc<dyn mcp::Bus>,
    jobs: Queue,
}

impl Owned {
    async fn delete_notes(
        db: &impl sea_orm::ConnectionTrait,
        user: &UserId,
    ) -> Result<u64, sea_orm::DbErr> {
        let theirs = notes_table::COLUMN.owner_sub.eq(user.as_str());
        let deleted = notes_table::Entity::delete_many().filter(theirs).exec(db).await?;
        Ok(deleted.rows_affected)
    }
}

#[async_trait]
impl oauth::Dependents for Owned {
    async fn delete_owned(
        &self,
        transaction: &Transaction,
        user: &UserId,
    ) -> Result<Removed, Failure> {
        let count = Self::delete_notes(transaction, user).await?;
        // A worker that runs one of the jobs finds that it can write nothing more.
        jobs_table::Entity::delete_owned_by(user.as_str()).exec(transaction).await?;
        exports_table::Entity::delete_owned_by(user.as_str()).exec(transaction).await?;
        Ok(Removed { count, one: "note", many: "notes" })
    }

    async fn account_deleted(&self, user: &UserId) {
        // An import that was writing meanwhile was waited for when its job was deleted.
        if let Err(error) = Self::delete_notes(&self.db, user).await {
            tracing::warn!(
                dependency = DATABASE, error = %error,
                "Notes of a deleted account may have stayed: {error}"
            );
        }
        let changed = Signal::ResourceListChanged { user: user.clone() };
        signals::publish(&*self.bus, vec![changed]).await;
    }

    async fn access_ended(&self, whose: EndedAccess) -> Result<(), Failure> {
        let which = match whose {
            EndedAccess::OfPerson(user) => DeniedJobs::OfPerson(user),
            EndedAccess::OfGrants(grants) => DeniedJobs::OfGrants(grants),
            EndedAccess::OfKey(key) => DeniedJobs::OfKey(key),
        };
        ::jobs::end_denied(&self.jobs, &which).await.map(drop)
    }
}
