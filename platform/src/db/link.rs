//! One connection, and the statements that it can execute.

use std::time::Instant;

use sea_orm::{DbErr, ExecResult, QueryResult, RuntimeErr, Statement};
use sea_query_sqlx::SqlxValues;
use sqlx::{
    AssertSqlSafe, Connection as _, Database, Executor as _, PgConnection, Row as _,
    SqliteConnection, query::Query,
};

use super::target::Target;

/// An open connection.
pub(super) struct Link {
    driver: Driver,
    /// The generation of the pool's connections that it belongs to.
    pub(super) generation: u64,
    pub(super) opened_at: Instant,
    pub(super) used_at: Instant,
    /// Whether the server refused writes in this session when it was opened.
    pub(super) read_only: bool,
}

enum Driver {
    Postgres(PgConnection),
    Sqlite(SqliteConnection),
}

impl Link {
    /// Opens a connection. The caller limits the time.
    pub(super) async fn open(target: &Target, generation: u64) -> Result<Self, sqlx::Error> {
        let (driver, read_only) = match target {
            Target::Postgres(options) => {
                let mut connection = PgConnection::connect_with(options).await?;
                let shown = connection.fetch_one("SHOW transaction_read_only").await?;
                let read_only = shown.try_get::<String, _>(0)? == "on";
                (Driver::Postgres(connection), read_only)
            }
            Target::Sqlite(options) => {
                (Driver::Sqlite(SqliteConnection::connect_with(options).await?), false)
            }
        };
        let now = Instant::now();
        Ok(Self { driver, generation, opened_at: now, used_at: now, read_only })
    }

    /// Waits for the statement that is running, if any, and for the response to a ping.
    pub(super) async fn ping(&mut self) -> Result<(), sqlx::Error> {
        match &mut self.driver {
            Driver::Postgres(connection) => connection.ping().await,
            Driver::Sqlite(connection) => connection.ping().await,
        }
    }

    /// Closes the session cleanly. Dropping a link also closes it.
    pub(super) async fn close(self) -> Result<(), sqlx::Error> {
        match self.driver {
            Driver::Postgres(connection) => connection.close().await,
            Driver::Sqlite(connection) => connection.close().await,
        }
    }
}

/// A statement that a connection can execute.
pub(super) trait Operation: Sync {
    type Output: Send;

    /// Returns the SQL text.
    fn sql(&self) -> &str;

    /// Executes the statement. The caller limits the time.
    fn run(
        &self,
        link: &mut Link,
    ) -> impl Future<Output = Result<Self::Output, sqlx::Error>> + Send;

    /// Converts an error to the type of SeaORM.
    fn error(error: sqlx::Error) -> DbErr;
}

/// A statement that returns the number of rows that it wrote.
pub(super) struct Execute(pub(super) Statement);

/// A statement that returns its first row.
pub(super) struct QueryOne(pub(super) Statement);

/// A statement that returns all its rows.
pub(super) struct QueryAll(pub(super) Statement);

/// SQL without parameters, possibly several statements.
pub(super) struct Unprepared<'a>(pub(super) &'a str);

impl Operation for Execute {
    type Output = ExecResult;

    fn sql(&self) -> &str {
        &self.0.sql
    }

    async fn run(&self, link: &mut Link) -> Result<ExecResult, sqlx::Error> {
        Ok(match &mut link.driver {
            Driver::Postgres(connection) => query(&self.0).execute(connection).await?.into(),
            Driver::Sqlite(connection) => query(&self.0).execute(connection).await?.into(),
        })
    }

    fn error(error: sqlx::Error) -> DbErr {
        DbErr::Exec(RuntimeErr::SqlxError(error.into()))
    }
}

impl Operation for QueryOne {
    type Output = Option<QueryResult>;

    fn sql(&self) -> &str {
        &self.0.sql
    }

    async fn run(&self, link: &mut Link) -> Result<Option<QueryResult>, sqlx::Error> {
        Ok(match &mut link.driver {
            Driver::Postgres(connection) => {
                query(&self.0).fetch_optional(connection).await?.map(Into::into)
            }
            Driver::Sqlite(connection) => {
                query(&self.0).fetch_optional(connection).await?.map(Into::into)
            }
        })
    }

    fn error(error: sqlx::Error) -> DbErr {
        DbErr::Query(RuntimeErr::SqlxError(error.into()))
    }
}

impl Operation for QueryAll {
    type Output = Vec<QueryResult>;

    fn sql(&self) -> &str {
        &self.0.sql
    }

    async fn run(&self, link: &mut Link) -> Result<Vec<QueryResult>, sqlx::Error> {
        Ok(match &mut link.driver {
            Driver::Postgres(connection) => {
                let rows = query(&self.0).fetch_all(connection).await?;
                rows.into_iter().map(Into::into).collect()
            }
            Driver::Sqlite(connection) => {
                let rows = query(&self.0).fetch_all(connection).await?;
                rows.into_iter().map(Into::into).collect()
            }
        })
    }

    fn error(error: sqlx::Error) -> DbErr {
        DbErr::Query(RuntimeErr::SqlxError(error.into()))
    }
}

impl Operation for Unprepared<'_> {
    type Output = ExecResult;

    fn sql(&self) -> &str {
        self.0
    }

    async fn run(&self, link: &mut Link) -> Result<ExecResult, sqlx::Error> {
        let sql = AssertSqlSafe(self.0.to_owned());
        Ok(match &mut link.driver {
            Driver::Postgres(connection) => connection.execute(sql).await?.into(),
            Driver::Sqlite(connection) => connection.execute(sql).await?.into(),
        })
    }

    fn error(error: sqlx::Error) -> DbErr {
        DbErr::Exec(RuntimeErr::SqlxError(error.into()))
    }
}

fn query<DB: Database>(statement: &Statement) -> Query<'_, DB, SqlxValues>
where
    SqlxValues: sqlx::IntoArguments<DB>,
{
    let values = statement.values.clone().unwrap_or_else(|| sea_orm::Values(Vec::new()));
    sqlx::query_with(AssertSqlSafe(statement.sql.as_str()), SqlxValues(values))
}
