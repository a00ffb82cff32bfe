//! A transaction: one connection, and a bound on each statement.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use sea_orm::{ConnectionTrait, DbBackend, DbErr, ExecResult, QueryResult, Statement};
use tokio::sync::Mutex;

use super::{
    ANSWER_MARGIN, Database,
    link::{Ask, Execute, QueryAll, QueryOne, Unprepared},
    measured,
    pool::Lease,
    statement_limit,
};

/// How long a transaction that locks rows waits for one, and how long each of its statements may
/// take, on Postgres.
const BRIEF_BOUNDS: &str = "SET LOCAL lock_timeout = '1s'; SET LOCAL statement_timeout = '2s'";

/// How long we wait for an answer within such a transaction.
const BRIEF_LIMIT: Duration = Duration::from_secs(2).saturating_add(ANSWER_MARGIN);

/// How long a search waits for another one of the same person in another process, on Postgres.
const SEARCH_LOCK_TIMEOUT: &str = "400ms";

/// How long one search may take, on Postgres.
const SEARCH_TIMEOUT: &str = "2s";

/// The first half of the advisory locks under which people search: `find` in ASCII.
const SEARCH_LOCK: i32 = 0x6669_6e64;

/// What a transaction is bounded by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bounds {
    /// Waits for a lock and for each statement are much shorter than usual.
    Brief,
    /// The usual bound on a statement.
    Usual,
    /// Reads, for as long as a search may take, and waits until no other process does so under the
    /// same number. Only on Postgres.
    Search(i32),
}

/// An open transaction. Dropped without [`commit`](Self::commit) it is rolled back.
pub struct Transaction {
    lease: Mutex<Lease>,
    backend: DbBackend,
    limit: Duration,
}

impl Transaction {
    pub(super) async fn begin(db: &Database, bounds: Bounds) -> Result<Self, DbErr> {
        let backend = db.get_database_backend();
        let (sql, limit) = match (backend, bounds) {
            (DbBackend::Postgres, Bounds::Brief) => (format!("BEGIN; {BRIEF_BOUNDS}"), BRIEF_LIMIT),
            (DbBackend::Postgres, Bounds::Search(number)) => (
                format!(
                    "BEGIN READ ONLY; SET LOCAL lock_timeout = '{SEARCH_LOCK_TIMEOUT}'; \
                     SET LOCAL statement_timeout = '{SEARCH_TIMEOUT}'; \
                     SELECT pg_advisory_xact_lock({SEARCH_LOCK}, {number})"
                ),
                BRIEF_LIMIT,
            ),
            (DbBackend::Postgres, Bounds::Usual) => ("BEGIN".to_owned(), statement_limit(backend)),
            _ => ("BEGIN IMMEDIATE".to_owned(), statement_limit(backend)),
        };
        let mut lease = db.lease().await?;
        if let Err(error) = lease.begin(&sql, limit).await {
            if !lease.was_outdated(&error) {
                return Err(Unprepared::error(error));
            }
            lease = db.pool.lease_instead(lease).await?;
            lease.begin(&sql, limit).await.map_err(Unprepared::error)?;
        }
        Ok(Self { lease: Mutex::new(lease), backend, limit })
    }

    /// Commits. After an error it is unknown whether the transaction took effect.
    pub async fn commit(self) -> Result<(), DbErr> {
        self.end("COMMIT").await
    }

    /// Rolls back, which dropping it does as well, only later.
    pub async fn rollback(self) -> Result<(), DbErr> {
        self.end("ROLLBACK").await
    }

    async fn end(self, sql: &str) -> Result<(), DbErr> {
        self.lease.into_inner().end(sql, self.limit).await.map_err(Unprepared::error)
    }

    async fn ask<A: Ask>(&self, question: A) -> Result<A::Answer, DbErr> {
        let mut lease = self.lease.lock().await;
        measured(self.backend, &question, lease.ask(&question, self.limit)).await.map_err(A::error)
    }
}

#[async_trait]
impl ConnectionTrait for Transaction {
    fn get_database_backend(&self) -> DbBackend {
        self.backend
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

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Transaction")
    }
}
