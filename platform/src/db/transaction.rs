//! Transactions: one connection, and a limit on each statement.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use sea_orm::{ConnectionTrait, DbBackend, DbErr, ExecResult, QueryResult, Statement};
use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;

use super::{
    database::Database,
    failure::Failure,
    limits::{ANSWER_MARGIN, statement_limit},
    link::{Execute, Operation, QueryAll, QueryOne, Unprepared},
    measured::measured,
    pool::Lease,
};

/// How long a transaction that locks rows waits for a lock, and how long each of its statements may
/// take, on Postgres.
const BRIEF_BOUNDS: &str = "SET LOCAL lock_timeout = '1s'; SET LOCAL statement_timeout = '2s'";

/// How long a caller waits for an answer within such a transaction.
const BRIEF_LIMIT: Duration = Duration::from_secs(2).saturating_add(ANSWER_MARGIN);

/// How long a search waits for another one of the same person in another process, on Postgres.
const SEARCH_LOCK_TIMEOUT: &str = "400ms";

/// How long one search may take, on Postgres.
const SEARCH_TIMEOUT: &str = "2s";

/// An advisory lock on Postgres that is held until the transaction ends, for an operation that must
/// run only once at a time for one person, in all processes. The second half of its key is a hash
/// of the person, so two people may, rarely, share a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PersonLock {
    class: i32,
    person: i32,
}

impl PersonLock {
    /// Creates the lock that is held while a search runs; the class is `find` in ASCII.
    pub(super) fn search(person: &str) -> Self {
        Self::new(0x6669_6e64, person)
    }

    /// Creates the lock that is held while the unfinished jobs of the person are counted and one is
    /// added; the class is `jobs` in ASCII.
    pub fn jobs(person: &str) -> Self {
        Self::new(0x6a6f_6273, person)
    }

    fn new(class: i32, person: &str) -> Self {
        let hash = Sha256::digest(person);
        Self { class, person: i32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]) }
    }

    fn sql(self) -> String {
        format!("SELECT pg_advisory_xact_lock({}, {})", self.class, self.person)
    }
}

/// The limits of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bounds {
    /// Waits for locks and statements are limited to much less than usual.
    Brief,
    /// The usual limit on a statement.
    Usual,
    /// As `Brief`, holding this lock.
    Locked(PersonLock),
    /// Read-only, with the time limit of a search, holding this lock. Only on Postgres.
    Search(PersonLock),
}

/// An open transaction. Rolls back if it is dropped without [`commit`](Self::commit).
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
            (DbBackend::Postgres, Bounds::Locked(lock)) => {
                (format!("BEGIN; {BRIEF_BOUNDS}; {}", lock.sql()), BRIEF_LIMIT)
            }
            (DbBackend::Postgres, Bounds::Search(lock)) => (
                format!(
                    "BEGIN READ ONLY; SET LOCAL lock_timeout = '{SEARCH_LOCK_TIMEOUT}'; \
                     SET LOCAL statement_timeout = '{SEARCH_TIMEOUT}'; {}",
                    lock.sql()
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

    /// Waits for a lock, and holds it until this transaction ends. Does nothing on SQLite, where a
    /// transaction already excludes all others.
    pub async fn lock(&self, lock: PersonLock) -> Result<(), DbErr> {
        if self.backend == DbBackend::Postgres {
            self.execute_unprepared(&lock.sql()).await?;
        }
        Ok(())
    }

    /// Commits the transaction. After an error it is unknown whether the transaction took effect.
    pub async fn commit(self) -> Result<(), DbErr> {
        self.end("COMMIT").await
    }

    /// Rolls back and waits for the result. Dropping the transaction rolls back as well, but later.
    pub async fn rollback(self) -> Result<(), DbErr> {
        self.end("ROLLBACK").await
    }

    async fn end(self, sql: &str) -> Result<(), DbErr> {
        self.lease.into_inner().end(sql, self.limit).await.map_err(Unprepared::error)
    }

    async fn run<O: Operation>(&self, statement: O) -> Result<O::Output, DbErr> {
        let mut lease = self.lease.lock().await;
        measured(self.backend, &statement, lease.run(&statement, self.limit))
            .await
            .map_err(O::error)
    }
}

/// Begins a transaction that will write.
///
/// On SQLite it takes the write lock at once: data read in it does not change until the commit, as
/// with locked rows on Postgres, and two such transactions take turns. On Postgres, each wait for a
/// lock and each statement is limited to far less than usual: a caller that waits here holds a
/// connection, and it is better for the client to get an error and retry.
pub async fn begin(db: &Database) -> Result<Transaction, Failure> {
    Ok(Transaction::begin(db, Bounds::Brief).await?)
}

/// Begins a transaction as [`begin`] does, and holds a lock that only one transaction of all
/// processes holds at a time.
pub async fn begin_locked(db: &Database, lock: PersonLock) -> Result<Transaction, Failure> {
    Ok(Transaction::begin(db, Bounds::Locked(lock)).await?)
}

/// Begins a transaction for long-running work, with the usual limit on a statement.
pub async fn begin_long_running(db: &Database) -> Result<Transaction, Failure> {
    Ok(db.begin().await?)
}

impl Database {
    /// Begins a transaction with the usual limits. On SQLite it takes the write lock at once.
    pub async fn begin(&self) -> Result<Transaction, DbErr> {
        Transaction::begin(self, Bounds::Usual).await
    }
}

#[async_trait]
impl ConnectionTrait for Transaction {
    fn get_database_backend(&self) -> DbBackend {
        self.backend
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

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Transaction")
    }
}
