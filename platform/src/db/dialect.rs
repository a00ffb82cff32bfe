//! What the two databases write differently: rows that come in as one value, and locks.
//!
//! Several rows are written by one statement with one parameter, a JSON array, whatever their
//! number: a list of parameters would be another statement for each length.

use sea_orm::{ConnectionTrait, DbBackend, DbErr, QueryResult, Statement, Value};

/// A column of such rows: its name, and its type as Postgres calls it.
pub type Column = (&'static str, &'static str);

/// The JSON array in parameter 1 as a table `given`.
pub fn given(backend: DbBackend, columns: &[Column]) -> String {
    if backend == DbBackend::Postgres {
        let columns: Vec<_> = columns.iter().map(|(name, kind)| format!("{name} {kind}")).collect();
        format!("json_to_recordset($1::json) AS given({})", columns.join(", "))
    } else {
        let columns: Vec<_> =
            columns.iter().map(|(name, _)| format!("value ->> '{name}' AS {name}")).collect();
        format!("(SELECT {} FROM json_each($1)) AS given", columns.join(", "))
    }
}

/// Locks the rows that a SELECT finds, and passes over those that somebody else has. SQLite has
/// locked everything.
pub fn for_update_skip_locked(backend: DbBackend) -> &'static str {
    if backend == DbBackend::Postgres { "FOR UPDATE SKIP LOCKED" } else { "" }
}

/// Runs a statement and gives the rows that it returns.
pub async fn rows(
    db: &impl ConnectionTrait,
    sql: impl Into<String>,
    values: impl IntoIterator<Item = Value>,
) -> Result<Vec<QueryResult>, DbErr> {
    let backend = db.get_database_backend();
    db.query_all_raw(Statement::from_sql_and_values(backend, sql, values)).await
}

/// Runs a statement and gives the number of rows that it wrote.
pub async fn written(
    db: &impl ConnectionTrait,
    sql: impl Into<String>,
    values: impl IntoIterator<Item = Value>,
) -> Result<u64, DbErr> {
    let backend = db.get_database_backend();
    let done = db.execute_raw(Statement::from_sql_and_values(backend, sql, values)).await?;
    Ok(done.rows_affected())
}
