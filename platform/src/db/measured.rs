//! Measures and traces statements.

use std::time::Instant;

use mcp::trace::TRACED;
use sea_orm::DbBackend;
use tracing::{Instrument as _, Span, field::Empty, info_span};

use super::link::Operation;
use crate::metrics;

/// Executes a statement, records its duration, and traces it as a span.
pub(super) async fn measured<O: Operation>(
    backend: DbBackend,
    statement: &O,
    execution: impl Future<Output = Result<O::Output, sqlx::Error>>,
) -> Result<O::Output, sqlx::Error> {
    let span = span(backend, statement.sql());
    let began = Instant::now();
    let result = execution.instrument(span.clone()).await;
    let outcome = if result.is_ok() { "ok" } else { "error" };
    metrics::DB_OPERATION_DURATION.observe([outcome], began.elapsed());
    if let Err(error) = &result {
        span.record("otel.status_code", "ERROR");
        let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
        span.record("error.type", code.as_deref().unwrap_or("unavailable"));
    }
    result
}

/// Creates the span of a statement. It does not contain the SQL text, which may contain the text of
/// a note.
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

/// Returns the first word of a statement if it is one of the common ones, otherwise `EXECUTE`.
pub(super) fn operation(sql: &str) -> &'static str {
    let first = sql.split_whitespace().next().unwrap_or_default();
    ["SELECT", "INSERT", "UPDATE", "DELETE"]
        .into_iter()
        .find(|it| first.eq_ignore_ascii_case(it))
        .unwrap_or("EXECUTE")
}
