//! A transaction: one connection, and a bound on each statement.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use sea_orm::{ConnectionTrait, DbBackend, DbErr, ExecResult, QueryResult, Statement};
use tokio::sync::Mutex;

use super::{
    ANSWER_MARGIN,
    link::{Ask, Execute, QueryAll, QueryOne, Unprepared},
    measured,
    pool::{Lease, Pool},
    statement_limit,
};

/// How long a transaction that locks rows waits for one, and how long each of its statements may
/// take, on Postgres.
const BRIEF_BOUNDS: &str = "SET LOCAL lock_timeout = '1s'; SET LOCAL statement_timeout = '2s'";

/// How long we wait for an answer within such a transaction.
const BRIEF_LIMIT: Duration = Duration::from_secs(2).saturating_add(ANSWER_MARGIN);

/// What a transaction is bounded by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bounds {
    /// Waits for a lock and for each statement are much shorter than usual.
    Brief,
    /// The usual bound on a statement.
    Usual,
}

/// An open transaction. Dropped without [`commit`](Self::commit) it is rolled back.
pub struct Transaction {
    lease: Mutex<Lease>,
    backend: DbBackend,
    limit: Duration,
}

impl Transaction {
    pub(super) async fn begin(pool: &Pool, bounds: Bounds) -> Result<Self, DbErr> {
        let backend = pool.target().backend();
        let (sql, limit) = match (backend, bounds) {
            (DbBackend::Postgres, Bounds::Brief) => (format!("BEGIN; {BRIEF_BOUNDS}"), BRIEF_LIMIT),
            (DbBackend::Postgres, Bounds::Usual) => ("BEGIN".to_owned(), statement_limit(backend)),
            _ => ("BEGIN IMMEDIATE".to_owned(), statement_limit(backend)),
        };
        let mut lease = pool.lease().await?;
        if let Err(error) = lease.begin(&sql, limit).await {
            if !lease.was_outdated(&error) {
                return Err(Unprepared::error(error));
            }
            lease = pool.lease().await?;
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
