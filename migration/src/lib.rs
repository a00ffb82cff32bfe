//! The schema's history, oldest first. A migration is written once and never edited after it has
//! run anywhere: it names tables and columns by strings and knows no entity, because entities
//! change and history does not.
//!
//! Old instances run beside new ones during a deploy, so a migration first expands (adds what the
//! new code needs) and a later one contracts (drops what no running code uses).

#![expect(
    elided_lifetimes_in_paths,
    reason = "SeaORM's trait elides them, and an implementation has to be written the same way"
)]

use std::time::Duration;

use sea_orm_migration::{
    prelude::*,
    sea_orm::{
        ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, SqliteTransactionMode,
        Statement, TransactionOptions, TransactionTrait,
    },
};
use tokio::time::timeout;

pub use sea_orm_migration::{MigrationTrait, MigratorTraitSelf};

pub mod dialect;
mod m20261122_000001_users;
mod m20261122_000003_oauth_signing_keys;
mod m20261122_000004_users_sign_in;
mod m20261122_000005_oauth_clients;
mod m20261122_000006_oauth_grants;
mod m20261122_000007_oauth_audit;
mod m20261122_000008_github_tokens;
mod m20261122_000009_signing_key_rotation;
mod m20261123_000010_jobs;
mod m20261123_000012_exports;
mod m20261123_000013_job_totals;
mod m20261123_000014_jobs_arguments;
mod m20261128_000016_access_cutoffs;
mod m20261128_000017_schedule_totals;
mod m20261129_000019_identity_providers;

/// The schema of a product: the migrations of the base and its own, in the order of their names.
#[derive(Clone, Copy, Debug)]
pub struct Schema {
    product: fn() -> Vec<Box<dyn MigrationTrait>>,
}

impl MigratorTraitSelf for Schema {
    fn migrations(&self) -> Vec<Box<dyn MigrationTrait>> {
        let mut all = base();
        all.extend((self.product)());
        all.sort_by(|a, b| a.name().cmp(b.name()));
        all
    }
}

/// The migrations of the base.
fn base() -> Vec<Box<dyn MigrationTrait>> {
    vec![
        Box::new(m20261122_000001_users::Migration),
        Box::new(m20261122_000003_oauth_signing_keys::Migration),
        Box::new(m20261122_000004_users_sign_in::Migration),
        Box::new(m20261122_000005_oauth_clients::Migration),
        Box::new(m20261122_000006_oauth_grants::Migration),
        Box::new(m20261122_000007_oauth_audit::Migration),
        Box::new(m20261122_000008_github_tokens::Migration),
        Box::new(m20261122_000009_signing_key_rotation::Migration),
        Box::new(m20261123_000010_jobs::Migration),
        Box::new(m20261123_000012_exports::Migration),
        Box::new(m20261123_000013_job_totals::Migration),
        Box::new(m20261123_000014_jobs_arguments::Migration),
        Box::new(m20261128_000016_access_cutoffs::Migration),
        Box::new(m20261128_000017_schedule_totals::Migration),
        Box::new(m20261129_000019_identity_providers::Migration),
    ]
}

/// The number of the advisory lock that is held while a Postgres database is migrated. Any number
/// serves that no other user of the database has chosen.
const LOCK: i64 = 0x6e6f_7465_732d_6d63;

/// How long one process waits for another one that migrates. Longer than any of our migrations
/// takes; an instance that gives up is started again by its platform.
const LOCK_WAIT: &str = "120s";

/// How long we wait for the lock on our side: longer than the database, which may have gone silent.
const LOCK_LIMIT: Duration = Duration::from_secs(130);

/// How long all migrations together may take on the server. No migration so far takes a minute.
const RUN_WAIT: &str = "10min";

/// How long we wait for all migrations on our side.
const RUN_LIMIT: Duration = Duration::from_mins(11);

/// What became of the schema, or would.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The name of the migration.
    pub name: String,
    /// Whether the database has it.
    pub applied: bool,
}

impl Schema {
    /// The schema of the base alone.
    pub fn base() -> Self {
        Self { product: Vec::new }
    }

    /// The schema of a product with these migrations.
    pub fn with(product: fn() -> Vec<Box<dyn MigrationTrait>>) -> Self {
        Self { product }
    }

    /// Brings the database up to the newest schema: all of it, or nothing of it.
    ///
    /// Safe to call from several processes at once. They take turns, by an advisory lock on Postgres
    /// and by the write lock on SQLite, and all but the first find nothing left to do. Both locks end
    /// with the transaction, so a process that dies while migrating leaves neither a lock nor half a
    /// schema behind.
    ///
    /// A database that has all of our migrations and those of a later version is as it should be: a
    /// deploy that is taken back migrates with the older program.
    pub async fn migrate(self, db: &DatabaseConnection) -> Result<(), DbErr> {
        let transaction = within(LOCK_LIMIT, alone(db)).await?;
        within(RUN_LIMIT, async {
            if self.status(&transaction).await?.iter().any(|it| !it.applied) {
                self.up(&transaction, None).await?;
            }
            transaction.commit().await
        })
        .await
    }

    /// Takes back the newest migrations, as many as `steps`: all of them, or none. What only they had
    /// room for is lost.
    pub async fn take_back(self, db: &DatabaseConnection, steps: u32) -> Result<(), DbErr> {
        let transaction = within(LOCK_LIMIT, alone(db)).await?;
        within(RUN_LIMIT, async {
            self.down(&transaction, Some(steps)).await?;
            transaction.commit().await
        })
        .await
    }

    /// Every migration, oldest first, and whether the database has it. Only reads, so that any process
    /// may ask at any time.
    pub async fn status(self, db: &impl ConnectionTrait) -> Result<Vec<Step>, DbErr> {
        let applied = applied(db).await?;
        let all = self.migrations();
        let step = |name: &str| Step {
            applied: applied.iter().any(|it| it == name),
            name: name.to_owned(),
        };
        Ok(all.iter().map(|it| step(it.name())).collect())
    }
}

/// The names of the migrations that the database has: none if it was never migrated.
async fn applied(db: &impl ConnectionTrait) -> Result<Vec<String>, DbErr> {
    let backend = db.get_database_backend();
    let ask = |sql: &str| Statement::from_string(backend, sql);
    let exists = if backend == DbBackend::Postgres {
        "SELECT 1 WHERE to_regclass('seaql_migrations') IS NOT NULL"
    } else {
        "SELECT 1 FROM sqlite_master WHERE name = 'seaql_migrations'"
    };
    if db.query_one_raw(ask(exists)).await?.is_none() {
        return Ok(Vec::new());
    }
    let rows = db.query_all_raw(ask("SELECT version FROM seaql_migrations")).await?;
    rows.iter().map(|row| row.try_get("", "version")).collect()
}

/// Bounds what the database may never answer.
async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, DbErr>>,
) -> Result<T, DbErr> {
    timeout(limit, work).await.unwrap_or_else(|_| {
        let seconds = limit.as_secs();
        Err(DbErr::Custom(format!("the database did not answer within {seconds} s")))
    })
}

/// A transaction that no other process migrates beside.
async fn alone(db: &DatabaseConnection) -> Result<DatabaseTransaction, DbErr> {
    let transaction = db
        .begin_with_options(TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..Default::default()
        })
        .await?;
    if db.get_database_backend() == DbBackend::Postgres {
        // The pool's bound on a statement is meant for requests, and waiting for the lock is one
        // statement.
        transaction
            .execute_unprepared(&format!(
                "SET LOCAL statement_timeout = '{RUN_WAIT}'; SET LOCAL lock_timeout = '{LOCK_WAIT}'; \
                 SELECT pg_advisory_xact_lock({LOCK});"
            ))
            .await?;
    }
    Ok(transaction)
}
