//! Differences in SQL between the two databases: rows that are passed as one value, and locks.
//!
//! Any number of rows is written by one statement with one parameter, a JSON array: a list of
//! parameters would need a different statement for each length.

use sea_orm::{ConnectionTrait, DbBackend, DbErr, QueryResult, Statement, Value};

/// A column of rows that are passed as JSON: its name, and its type in Postgres.
pub type Column = (&'static str, &'static str);

/// Returns a FROM item that presents the JSON array in parameter 1 as a table `given`.
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

/// Returns the clause that locks the rows of a SELECT and skips rows that another transaction has
/// locked. Empty on SQLite, whose transactions lock the whole database.
pub fn for_update_skip_locked(backend: DbBackend) -> &'static str {
    if backend == DbBackend::Postgres { "FOR UPDATE SKIP LOCKED" } else { "" }
}

/// Executes a statement and returns its rows.
pub async fn rows(
    db: &impl ConnectionTrait,
    sql: impl Into<String>,
    values: impl IntoIterator<Item = Value>,
) -> Result<Vec<QueryResult>, DbErr> {
    let backend = db.get_database_backend();
    db.query_all_raw(Statement::from_sql_and_values(backend, sql, values)).await
}

/// Executes a statement and returns the number of rows that it wrote.
pub async fn written(
    db: &impl ConnectionTrait,
    sql: impl Into<String>,
    values: impl IntoIterator<Item = Value>,
) -> Result<u64, DbErr> {
    let backend = db.get_database_backend();
    let done = db.execute_raw(Statement::from_sql_and_values(backend, sql, values)).await?;
    Ok(done.rows_affected())
}
