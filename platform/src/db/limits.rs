//! Time limits of all database operations.

use std::time::Duration;

use sea_orm::DbBackend;

/// How long a caller waits for a free connection of the pool. Longer than a pooler usually takes to
/// restart, shorter than clients wait.
pub(super) const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// The limit on connecting, including attempts that are refused while the server starts.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The limit on one statement on Postgres. The program's statements take milliseconds, so this only
/// ends a statement that has gone wrong before it blocks the pool.
pub(super) const STATEMENT_TIMEOUT: Duration = Duration::from_secs(10);

/// How much longer than the server's own limit a caller waits for an answer: the time for the round
/// trip.
pub(super) const ANSWER_MARGIN: Duration = Duration::from_secs(2);

/// How long a caller waits for the answer to a statement. After that the connection is considered
/// dead.
pub(super) const STATEMENT_LIMIT: Duration = STATEMENT_TIMEOUT.saturating_add(ANSWER_MARGIN);

/// How long a caller waits on SQLite, which has no network connection that can fail: only a busy
/// disk or processor delays its answer.
pub(super) const SQLITE_LIMIT: Duration = Duration::from_mins(1);

/// How long running statements have to end when the pool closes. Less than the shortest time that
/// hosting platforms give a process to stop.
pub(super) const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Returns how long a caller waits for the answer to a statement.
pub(super) fn statement_limit(backend: DbBackend) -> Duration {
    if backend == DbBackend::Postgres { STATEMENT_LIMIT } else { SQLITE_LIMIT }
}
