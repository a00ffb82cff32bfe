//! SQL for both databases: one text in which only the names of types differ, or a text for each.

use sea_orm_migration::{prelude::*, sea_orm::DbBackend};

/// The placeholders for types, with the type on Postgres and on SQLite. SQLite stores times as text
/// that sorts chronologically.
const TYPES: [(&str, &str, &str); 4] = [
    ("{bytes}", "bytea", "blob"),
    ("{json}", "jsonb", "text"),
    ("{time}", "timestamptz", "text"),
    ("{uuid}", "uuid", "blob"),
];

/// Runs statements, after replacing `{bytes}`, `{json}`, `{time}` and `{uuid}` by the types of the
/// database.
pub async fn run(manager: &SchemaManager<'_>, sql: &str) -> Result<(), DbErr> {
    let mut sql = sql.to_owned();
    for (name, on_postgres, on_sqlite) in TYPES {
        sql = sql.replace(name, choose(manager, on_postgres, on_sqlite));
    }
    manager.get_connection().execute_unprepared(&sql).await.map(drop)
}

/// Runs the statements for the database in use.
pub async fn run_either(
    manager: &SchemaManager<'_>,
    on_postgres: &str,
    on_sqlite: &str,
) -> Result<(), DbErr> {
    let sql = choose(manager, on_postgres, on_sqlite);
    manager.get_connection().execute_unprepared(sql).await.map(drop)
}

fn choose<'a>(manager: &SchemaManager<'_>, on_postgres: &'a str, on_sqlite: &'a str) -> &'a str {
    match manager.get_database_backend() {
        DbBackend::Postgres => on_postgres,
        _ => on_sqlite,
    }
}
