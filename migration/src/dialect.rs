//! One text of SQL for both databases: what they differ in are the names of types.

use sea_orm_migration::{prelude::*, sea_orm::DbBackend};

/// The types, as the text calls them, on Postgres and on SQLite. SQLite keeps times as text that
/// sorts as the times do.
const TYPES: [(&str, &str, &str); 4] = [
    ("{bytes}", "bytea", "blob"),
    ("{json}", "jsonb", "text"),
    ("{time}", "timestamptz", "text"),
    ("{uuid}", "uuid", "blob"),
];

/// Runs some statements, with `{bytes}`, `{json}`, `{time}` and `{uuid}` for the types of the
/// database.
pub async fn run(manager: &SchemaManager<'_>, sql: &str) -> Result<(), DbErr> {
    let postgres = manager.get_database_backend() == DbBackend::Postgres;
    let mut sql = sql.to_owned();
    for (name, on_postgres, on_sqlite) in TYPES {
        sql = sql.replace(name, if postgres { on_postgres } else { on_sqlite });
    }
    manager.get_connection().execute_unprepared(&sql).await.map(drop)
}
