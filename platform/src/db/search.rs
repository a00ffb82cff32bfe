//! Search statements, which may cost more than all others.

use async_trait::async_trait;
use sea_orm::{ConnectionTrait, DbBackend, DbErr, ExecResult, QueryResult, Statement};

use super::{
    database::Database,
    failure::is_lock_timeout,
    person::Busy,
    transaction::{Bounds, PersonLock, Transaction},
};

/// Executes each query in a transaction with the time limit of a search, which first waits for
/// the same person's searches in other processes to end. On SQLite, which only one process uses, it
/// only executes the statement.
pub struct OneSearch {
    db: Database,
    lock: PersonLock,
}

impl OneSearch {
    /// Creates the handle for searches of this person.
    pub fn new(db: Database, person: &str) -> Self {
        Self { db, lock: PersonLock::search(person) }
    }

    async fn begin(&self) -> Result<Transaction, DbErr> {
        let begun = Transaction::begin(&self.db, Bounds::Search(self.lock)).await;
        begun.map_err(|error| if is_lock_timeout(&error) { Busy.into() } else { error })
    }
}

#[async_trait]
impl ConnectionTrait for OneSearch {
    fn get_database_backend(&self) -> DbBackend {
        self.db.get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.db.execute_raw(statement).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.db.execute_unprepared(sql).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        Ok(self.query_all_raw(statement).await?.into_iter().next())
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        if self.get_database_backend() != DbBackend::Postgres {
            return self.db.query_all_raw(statement).await;
        }
        let transaction = self.begin().await?;
        let rows = transaction.query_all_raw(statement).await?;
        transaction.commit().await?;
        Ok(rows)
    }
}
