//! The database, through one door: every statement goes through [`Database`] or [`Transaction`], and
//! both wait for an answer only so long, whatever the server or the network does.
//!
//! | limit | where |
//! |---|---|
//! | a free connection | `ACQUIRE_TIMEOUT` |
//! | connecting | `CONNECT_TIMEOUT` |
//! | a statement | on Postgres `STATEMENT_TIMEOUT`, then here `STATEMENT_LIMIT` |
//! | closing | `CLOSE_TIMEOUT` |
//! | connections of one person at once | `person` |

mod failure;
mod link;
mod person;
mod pool;
mod rights;
mod search;
mod target;
mod transaction;

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use async_trait::async_trait;
use futures_util::FutureExt as _;
use mcp::trace::TRACED;
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DbBackend, DbErr, ExecResult, QueryResult, Statement,
};
use sqlx::{postgres::PgPoolOptions, sqlite::SqlitePoolOptions};
use tokio::time::timeout;
use tracing::{Instrument as _, Span, field::Empty, info_span};

pub use self::{failure::Failure, person::Busy, rights::check_rights, transaction::Transaction};
pub(crate) use self::{
    failure::{DATABASE, is_lock_timeout, is_statement_timeout},
    person::Permit,
    pool::PoolStatus,
    search::OneSearch,
    transaction::PersonLock,
};
use self::{
    link::{Ask, Execute, Link, QueryAll, QueryOne, Unprepared},
    person::{People, Person},
    pool::{Lease, Pool, say_goodbye, silent},
    target::Target,
    transaction::Bounds,
};
use crate::{config::DatabaseSettings, metrics};

/// How long a caller waits for a connection of the pool to become free. Longer than the usual
/// restart of a pooler, shorter than the patience of a client.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long connecting may take, including attempts that are refused while the server starts.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long one statement may run on Postgres. Ours take milliseconds, so this only ends what went
/// wrong before it blocks the pool.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(10);

/// How much longer than the server's own limit we wait for an answer: for the way there and back.
const ANSWER_MARGIN: Duration = Duration::from_secs(2);

/// How long we wait for the answer to a statement. After that the connection is taken to be dead.
const STATEMENT_LIMIT: Duration = STATEMENT_TIMEOUT.saturating_add(ANSWER_MARGIN);

/// The same on SQLite, which cannot go silent: only a busy disk or processor keeps it from answering.
const SQLITE_LIMIT: Duration = Duration::from_mins(1);

/// How long the running statements have to end when the pool closes. A part of the shortest time
/// that platforms give a process to end.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The database of a service. Clones share its connections.
#[derive(Clone)]
pub struct Database {
    pool: Pool,
    people: Arc<People>,
    /// Whose connections count together; absent for what no person asks for.
    person: Option<Person>,
}

/// Connects. A SQLite file, and its directory, is created if it is not there.
pub(crate) async fn connect(settings: &DatabaseSettings) -> anyhow::Result<Database> {
    let target = Target::parse(&settings.url)?;
    target.prepare()?;
    let pool = Pool::new(target, settings.max_connections)?;
    pool.lease(None).await.context("could not connect to the database")?;
    let people = Arc::new(People::new(settings.max_connections));
    Ok(Database { pool, people, person: None })
}

/// Begins a transaction that will write.
///
/// On SQLite it takes the write lock at once: what is read in it stays true until the commit, as a
/// locked row does on Postgres, and two such transactions take turns. On Postgres a wait for a
/// lock, and each statement, is bounded by far less than usual: a caller that waits here holds a
/// connection, and the client would rather be told to try again.
pub(crate) async fn begin(db: &Database) -> Result<Transaction, Failure> {
    Ok(Transaction::begin(db, Bounds::Brief).await?)
}

/// The same, under a lock that only one transaction of all processes holds at a time.
pub(crate) async fn begin_locked(db: &Database, lock: PersonLock) -> Result<Transaction, Failure> {
    Ok(Transaction::begin(db, Bounds::Locked(lock)).await?)
}

/// The same for what takes its time, with the usual bound on a statement.
pub(crate) async fn begin_patiently(db: &Database) -> Result<Transaction, Failure> {
    Ok(db.begin().await?)
}

impl Database {
    /// Begins a transaction with the usual bounds. On SQLite it takes the write lock at once.
    pub async fn begin(&self) -> Result<Transaction, DbErr> {
        Transaction::begin(self, Bounds::Usual).await
    }

    /// The same database for what this person asks for: their statements use only a part of the
    /// connections at once, and wait for each other. [`Failure::Busy`] if that takes too long.
    #[must_use]
    pub fn of_person(&self, name: &str) -> Self {
        Self { person: Some(self.people.person(name)), ..self.clone() }
    }

    /// The same for a job, which waits longer.
    #[must_use]
    pub fn in_job(self) -> Self {
        Self { person: self.person.map(Person::in_job), ..self }
    }

    /// Waits until this person searches nothing else in this process.
    pub(crate) async fn search_permit(&self) -> Result<Option<Permit>, Busy> {
        match &self.person {
            Some(person) => person.search().await.map(Some),
            None => Ok(None),
        }
    }

    async fn lease(&self) -> Result<Lease, DbErr> {
        let permit = match &self.person {
            Some(person) => Some(person.connection().await?),
            None => None,
        };
        self.pool.lease(permit).await
    }

    /// A connection of SeaORM's own with the same settings, for migrations, which need its type.
    /// It has none of the bounds of this type; `migration` has its own.
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

    /// Which kind of database it is.
    pub fn get_database_backend(&self) -> DbBackend {
        self.pool.target().backend()
    }

    /// How many connections there are.
    pub(crate) fn status(&self) -> PoolStatus {
        self.pool.status()
    }

    /// Closes the connections, after the statements that are running but within a few seconds.
    pub(crate) async fn close(&self) {
        self.pool.close(CLOSE_TIMEOUT).await;
    }

    /// Asks the server for a sign of life within `limit`: over an idle connection of the pool, or, if
    /// there is none or it does not answer, over a new one beside the pool, which is closed again. So
    /// the answer is about the database, not about who uses the pool.
    pub(crate) async fn probe(&self, limit: Duration) -> Result<(), DbErr> {
        if self.pool.is_closed() {
            return Err(Unprepared::error(sqlx::Error::PoolClosed));
        }
        let asking = async {
            let pooled = async {
                self.pool.try_lease().await?.ask(&Unprepared("SELECT 1"), limit).await.ok()
            };
            if let Ok(Some(_)) = timeout(limit / 2, pooled).await {
                return Ok(());
            }
            let link = Link::open(self.pool.target(), 0).boxed().await?;
            tokio::spawn(say_goodbye(link));
            Ok(())
        };
        timeout(limit, asking)
            .await
            .unwrap_or_else(|_| Err(silent(limit)))
            .map_err(Unprepared::error)
    }

    /// Asks the server for a sign of life.
    pub(crate) async fn ping(&self) -> Result<(), DbErr> {
        let statement = Statement::from_string(self.get_database_backend(), "SELECT 1");
        self.query_one_raw(statement).await.map(drop)
    }

    async fn ask<A: Ask>(&self, question: A) -> Result<A::Answer, DbErr> {
        let mut lease = self.lease().await?;
        let backend = self.get_database_backend();
        let limit = statement_limit(backend);
        let answer = measured(backend, &question, lease.ask(&question, limit)).await;
        match answer {
            Err(error)
                if lease.was_read_only(&error)
                    || lease.was_outdated(&error) && is_read(question.sql()) =>
            {
                let mut lease = self.pool.lease_instead(lease).await?;
                measured(backend, &question, lease.ask(&question, limit)).await
            }
            answer => answer,
        }
        .map_err(A::error)
    }
}

/// How long the answer to a statement is waited for.
fn statement_limit(backend: DbBackend) -> Duration {
    if backend == DbBackend::Postgres { STATEMENT_LIMIT } else { SQLITE_LIMIT }
}

/// Whether a statement only reads. One that begins with `WITH` may write.
fn is_read(sql: &str) -> bool {
    operation(sql) == "SELECT"
}

/// Measures a statement, and makes a span of it for traces.
async fn measured<A: Ask>(
    backend: DbBackend,
    question: &A,
    asking: impl Future<Output = Result<A::Answer, sqlx::Error>>,
) -> Result<A::Answer, sqlx::Error> {
    let span = span(backend, question.sql());
    let began = Instant::now();
    let answer = asking.instrument(span.clone()).await;
    let outcome = if answer.is_ok() { "ok" } else { "error" };
    metrics::DB_OPERATION_DURATION.took([outcome], began.elapsed());
    if let Err(error) = &answer {
        span.record("otel.status_code", "ERROR");
        let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
        span.record("error.type", code.as_deref().unwrap_or("unavailable"));
    }
    answer
}

/// The span of a statement. Its text stays out of it: it may hold the text of a note.
fn span(backend: DbBackend, sql: &str) -> Span {
    info_span!(
        target: TRACED,
        "sql",
        otel.kind = "client",
        otel.status_code = Empty,
        db.system.name = if backend == DbBackend::Postgres { "postgresql" } else { "sqlite" },
        db.operation.name = operation(sql),
        error.r#type = Empty,
    )
}

/// The first word of a statement, if it is one of the usual ones.
fn operation(sql: &str) -> &'static str {
    let first = sql.split_whitespace().next().unwrap_or_default();
    ["SELECT", "INSERT", "UPDATE", "DELETE"]
        .into_iter()
        .find(|it| first.eq_ignore_ascii_case(it))
        .unwrap_or("EXECUTE")
}

#[async_trait]
impl ConnectionTrait for Database {
    fn get_database_backend(&self) -> DbBackend {
        self.get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.ask(Execute(statement)).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.ask(Unprepared(sql)).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.ask(QueryOne(statement)).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.ask(QueryAll(statement)).await
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
    fn only_a_plain_select_is_asked_again() {
        for read in ["SELECT 1", " select 1"] {
            assert!(is_read(read), "{read}");
        }
        for other in ["WITH x AS (DELETE FROM y) SELECT 1", "INSERT INTO x", "SELECTED", ""] {
            assert!(!is_read(other), "{other}");
        }
    }
}
