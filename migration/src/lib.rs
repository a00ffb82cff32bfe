//! The migrations of the base, oldest first. A migration must not change after it has run anywhere.
//! It names tables and columns by strings and uses no entity, because entities change.
//!
//! During a deploy, old instances run beside new ones. Therefore a migration only adds what the new
//! code needs (expand), and a later one drops what no running code uses any more (contract).

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
mod m20261130_000020_jobs_lost_attempt;
mod m20261130_000021_audit_of_user;
mod m20261130_000022_oauth_calls;
mod m20261130_000023_dpop;
mod m20261130_000030_service_clients;

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
        Box::new(m20261130_000020_jobs_lost_attempt::Migration),
        Box::new(m20261130_000021_audit_of_user::Migration),
        Box::new(m20261130_000022_oauth_calls::Migration),
        Box::new(m20261130_000023_dpop::Migration),
        Box::new(m20261130_000030_service_clients::Migration),
    ]
}

/// The key of the advisory lock that is held while a Postgres database is migrated. It must differ
/// from the keys that other programs use in the same database.
const LOCK: i64 = 0x6e6f_7465_732d_6d63;

/// How long a process waits while another one migrates: longer than any migration takes. If it
/// gives up, the platform starts the instance again.
const LOCK_WAIT: &str = "120s";

/// The timeout for the lock on the side of the client, in case the database does not respond.
const LOCK_LIMIT: Duration = Duration::from_secs(130);

/// The timeout of all migrations together on the server. No migration so far takes a minute.
const RUN_WAIT: &str = "10min";

/// The timeout of all migrations together on the side of the client.
const RUN_LIMIT: Duration = Duration::from_mins(11);

/// A migration and whether it is applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The name of the migration.
    pub name: String,
    /// Whether the database has the migration.
    pub applied: bool,
}

impl Schema {
    /// Returns the schema of the base alone.
    pub fn base() -> Self {
        Self { product: Vec::new }
    }

    /// Returns the schema of a product with these migrations.
    pub fn with(product: fn() -> Vec<Box<dyn MigrationTrait>>) -> Self {
        Self { product }
    }

    /// Applies all missing migrations in one transaction.
    ///
    /// Safe to call from several processes at once: they take turns, by an advisory lock on
    /// Postgres and by the write lock on SQLite, and all but the first find nothing to do. Both
    /// locks end with the transaction, so a process that dies while it migrates leaves neither a
    /// lock nor a partial schema behind.
    ///
    /// Migrations of a later version in the database are not an error: when a deploy is rolled
    /// back, the older program calls this, too.
    pub async fn migrate(self, db: &DatabaseConnection) -> Result<(), DbErr> {
        let transaction = within(LOCK_LIMIT, begin_exclusive(db)).await?;
        within(RUN_LIMIT, async {
            if self.status(&transaction).await?.iter().any(|step| !step.applied) {
                self.up(&transaction, None).await?;
            }
            transaction.commit().await
        })
        .await
    }

    /// Reverts the newest `steps` migrations in one transaction. Deletes the data that only their
    /// tables and columns can hold.
    pub async fn revert(self, db: &DatabaseConnection, steps: u32) -> Result<(), DbErr> {
        let transaction = within(LOCK_LIMIT, begin_exclusive(db)).await?;
        within(RUN_LIMIT, async {
            self.down(&transaction, Some(steps)).await?;
            transaction.commit().await
        })
        .await
    }

    /// Returns all migrations, oldest first, and whether the database has them. Only reads, so any
    /// process may call it at any time.
    pub async fn status(self, db: &impl ConnectionTrait) -> Result<Vec<Step>, DbErr> {
        let applied = applied(db).await?;
        let all = self.migrations();
        let step = |name: &str| Step {
            applied: applied.iter().any(|applied_name| applied_name == name),
            name: name.to_owned(),
        };
        Ok(all.iter().map(|migration| step(migration.name())).collect())
    }
}

/// Returns the names of the migrations that the database has. Empty if it was never migrated.
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

/// Adds a timeout, because the database may never respond.
async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, DbErr>>,
) -> Result<T, DbErr> {
    timeout(limit, work).await.unwrap_or_else(|_| {
        let seconds = limit.as_secs();
        Err(DbErr::Custom(format!("the database did not answer within {seconds} s")))
    })
}

/// Begins a transaction during which no other process can migrate.
async fn begin_exclusive(db: &DatabaseConnection) -> Result<DatabaseTransaction, DbErr> {
    let transaction = db
        .begin_with_options(TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..Default::default()
        })
        .await?;
    if db.get_database_backend() == DbBackend::Postgres {
        // The statement timeout of the pool is meant for requests; waiting for the lock counts as a
        // statement, too.
        transaction
            .execute_unprepared(&format!(
                "SET LOCAL statement_timeout = '{RUN_WAIT}'; SET LOCAL lock_timeout = '{LOCK_WAIT}'; \
                 SELECT pg_advisory_xact_lock({LOCK});"
            ))
            .await?;
    }
    Ok(transaction)
}
