//! How long everything that the database does may take.

use std::time::Duration;

use sea_orm::DbBackend;

/// How long a caller waits for a connection of the pool to become free. Longer than the usual
/// restart of a pooler, shorter than the patience of a client.
pub(super) const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long connecting may take, including attempts that are refused while the server starts.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long one statement may run on Postgres. Ours take milliseconds, so this only ends what went
/// wrong before it blocks the pool.
pub(super) const STATEMENT_TIMEOUT: Duration = Duration::from_secs(10);

/// How much longer than the server's own limit we wait for an answer: for the way there and back.
pub(super) const ANSWER_MARGIN: Duration = Duration::from_secs(2);

/// How long we wait for the answer to a statement. After that the connection is taken to be dead.
pub(super) const STATEMENT_LIMIT: Duration = STATEMENT_TIMEOUT.saturating_add(ANSWER_MARGIN);

/// The same on SQLite, which cannot go silent: only a busy disk or processor keeps it from answering.
pub(super) const SQLITE_LIMIT: Duration = Duration::from_mins(1);

/// How long the running statements have to end when the pool closes. A part of the shortest time
/// that platforms give a process to end.
pub(super) const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the answer to a statement is waited for.
pub(super) fn statement_limit(backend: DbBackend) -> Duration {
    if backend == DbBackend::Postgres { STATEMENT_LIMIT } else { SQLITE_LIMIT }
}
