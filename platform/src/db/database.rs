//! The database handle: a pool of connections, used for one person or for the whole service.

use std::{fmt, sync::Arc, time::Duration};

use anyhow::Context as _;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures_util::FutureExt as _;
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DbBackend, DbErr, ExecResult, QueryResult, Statement,
};
use sqlx::{postgres::PgPoolOptions, sqlite::SqlitePoolOptions};
use tokio::time::{Instant, timeout};

use super::{
    limits::{CLOSE_TIMEOUT, CONNECT_TIMEOUT, statement_limit},
    link::{Execute, Link, Operation, QueryAll, QueryOne, Unprepared},
    measured::{measured, operation},
    person::{Busy, People, Permit, Person},
    pool::{Lease, Pool, PoolStatus, close_session, no_response},
    target::Target,
};
use crate::{
    clock::{Clock as _, SystemClock},
    secret::Secret,
};

/// Where the data is, and how many connections to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseSettings {
    /// `postgres://…` or `sqlite:…`; may contain a password.
    pub url: Secret,
    /// The size of the pool.
    pub max_connections: u32,
    /// The name of the program, which Postgres shows for its connections.
    pub program: &'static str,
}

/// The database of a service. Clones share its connections.
#[derive(Clone)]
pub struct Database {
    pub(super) pool: Pool,
    people: Arc<People>,
    /// The person whose limits apply. `None`: statements that are not on behalf of one person.
    person: Option<Person>,
}

/// Connects to the database. Creates a SQLite file, with its directory, if it does not exist.
pub async fn connect(settings: &DatabaseSettings) -> anyhow::Result<Database> {
    let target = Target::parse(&settings.url, settings.program)?;
    target.prepare()?;
    let pool = Pool::new(target, settings.max_connections)?;
    pool.lease(None).await.context("could not connect to the database")?;
    let people = Arc::new(People::new(settings.max_connections));
    Ok(Database { pool, people, person: None })
}

impl Database {
    /// Returns a handle for statements on behalf of this person, which use only a part of the
    /// connections at once and wait for each other. They fail with
    /// [`Failure::Busy`](crate::db::Failure::Busy) if that takes too long.
    #[must_use]
    pub fn of_person(&self, name: &str) -> Self {
        Self { person: Some(self.people.person(name)), ..self.clone() }
    }

    /// Returns a handle for a job, whose statements wait longer for the person's connections.
    #[must_use]
    pub fn in_job(self) -> Self {
        Self { person: self.person.map(Person::in_job), ..self }
    }

    /// Waits until no other search of this person runs in this process. `Ok(None)`: the handle is
    /// not for one person, so nothing limits its searches.
    pub async fn search_permit(&self) -> Result<Option<Permit>, Busy> {
        match &self.person {
            Some(person) => person.search().await.map(Some),
            None => Ok(None),
        }
    }

    pub(super) async fn lease(&self) -> Result<Lease, DbErr> {
        let permit = match &self.person {
            Some(person) => Some(person.connection().await?),
            None => None,
        };
        self.pool.lease(permit).await
    }

    /// Opens a connection of SeaORM's own with the same settings, for migrations, which need its
    /// type. It has none of the time limits of this type; `migration` has its own.
    pub async fn schema_connection(&self) -> Result<DatabaseConnection, DbErr> {
        let connecting = async {
            Ok::<DatabaseConnection, sqlx::Error>(match self.pool.target() {
                Target::Postgres(options) => PgPoolOptions::new()
                    .max_connections(1)
                    .acquire_timeout(CONNECT_TIMEOUT)
                    .connect_with((**options).clone())
                    .await?
                    .into(),
                Target::Sqlite(options) => SqlitePoolOptions::new()
                    .max_connections(1)
                    .acquire_timeout(CONNECT_TIMEOUT)
                    .connect_with((**options).clone())
                    .await?
                    .into(),
            })
        };
        connecting.boxed().await.map_err(Unprepared::error)
    }

    /// Returns the kind of database.
    pub fn get_database_backend(&self) -> DbBackend {
        self.pool.target().backend()
    }

    /// Returns the state of the pool.
    pub fn status(&self) -> PoolStatus {
        self.pool.status()
    }

    /// Closes the connections after the running statements have ended, but within a few seconds.
    pub async fn close(&self) {
        self.pool.close(CLOSE_TIMEOUT).await;
    }

    /// Checks within `limit` that the server responds: over an idle connection of the pool, or, if
    /// there is none or it does not respond, over a new connection beside the pool, which is closed
    /// again. The result is therefore about the database, and not about the load on the pool.
    pub async fn probe(&self, limit: Duration) -> Result<(), DbErr> {
        if self.pool.is_closed() {
            return Err(Unprepared::error(sqlx::Error::PoolClosed));
        }
        let probing = async {
            let pooled = async {
                self.pool.try_lease().await?.run(&Unprepared("SELECT 1"), limit).await.ok()
            };
            if let Ok(Some(_)) = timeout(limit / 2, pooled).await {
                return Ok(());
            }
            let link = Link::open(self.pool.target(), 0).boxed().await?;
            tokio::spawn(close_session(link));
            Ok(())
        };
        timeout(limit, probing)
            .await
            .unwrap_or_else(|_| Err(no_response(limit)))
            .map_err(Unprepared::error)
    }

    /// Returns the difference between the clock of this machine and that of the database, up to the
    /// duration of a round trip. Zero on SQLite, which has no clock of its own.
    pub async fn clock_skew(&self) -> Result<Duration, DbErr> {
        if self.get_database_backend() != DbBackend::Postgres {
            return Ok(Duration::ZERO);
        }
        let (asked_at, began) = (SystemClock.now(), Instant::now());
        let statement =
            Statement::from_string(DbBackend::Postgres, "SELECT clock_timestamp() AS now");
        let Some(row) = self.query_one_raw(statement).await? else { return Ok(Duration::ZERO) };
        let time: DateTime<Utc> = row.try_get("", "now")?;
        // The database read its clock at some time between the request and the response.
        let middle = asked_at + began.elapsed() / 2;
        Ok((time - middle).abs().to_std().unwrap_or(Duration::MAX))
    }

    /// Executes a trivial statement to check that the server responds.
    pub async fn ping(&self) -> Result<(), DbErr> {
        let statement = Statement::from_string(self.get_database_backend(), "SELECT 1");
        self.query_one_raw(statement).await.map(drop)
    }

    /// Executes, outside a transaction, a statement that may write and has the same effect if it is
    /// executed twice. If a connection of the pool turns out to be closed, repeats it on another one, like a
    /// statement that only reads.
    pub async fn execute_idempotent(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.run_repeatable(Execute(statement), true).await
    }

    async fn run<O: Operation>(&self, statement: O) -> Result<O::Output, DbErr> {
        let is_repeatable = is_read(statement.sql());
        self.run_repeatable(statement, is_repeatable).await
    }

    async fn run_repeatable<O: Operation>(
        &self,
        statement: O,
        is_repeatable: bool,
    ) -> Result<O::Output, DbErr> {
        let mut lease = self.lease().await?;
        let backend = self.get_database_backend();
        let limit = statement_limit(backend);
        let result = measured(backend, &statement, lease.run(&statement, limit)).await;
        match result {
            Err(error)
                if lease.was_read_only(&error) || lease.was_outdated(&error) && is_repeatable =>
            {
                let mut lease = self.pool.lease_instead(lease).await?;
                measured(backend, &statement, lease.run(&statement, limit)).await
            }
            result => result,
        }
        .map_err(O::error)
    }
}

/// Returns whether a statement only reads. A statement that begins with `WITH` may write.
fn is_read(sql: &str) -> bool {
    operation(sql) == "SELECT"
}

#[async_trait]
impl ConnectionTrait for Database {
    fn get_database_backend(&self) -> DbBackend {
        self.get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.run(Execute(statement)).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.run(Unprepared(sql)).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.run(QueryOne(statement)).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.run(QueryAll(statement)).await
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Database")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_select_is_retried() {
        for read in ["SELECT 1", " select 1"] {
            assert!(is_read(read), "{read}");
        }
        for other in ["WITH x AS (DELETE FROM y) SELECT 1", "INSERT INTO x", "SELECTED", ""] {
            assert!(!is_read(other), "{other}");
        }
    }
}
