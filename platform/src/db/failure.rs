//! Classifies database errors by what a caller may conclude from them.

use sea_orm::{ConnAcquireErr, DbErr, RuntimeErr};
use sqlx::postgres::{PgDatabaseError, PgSeverity};

use super::person::{Busy, is_busy};
use crate::metrics;

/// The name of the database in the field `dependency` of log events.
pub const DATABASE: &str = "database";

/// Why a statement failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The database cannot be reached, or is overloaded: the same request may succeed later.
    #[error("{}", unavailable(.0))]
    Unavailable(#[source] DbErr),
    /// This person already uses the maximum number of connections.
    #[error(transparent)]
    Busy(#[from] Busy),
    /// Any other error; its source is for the log.
    #[error("an unexpected internal error")]
    Internal(#[source] anyhow::Error),
}

impl Failure {
    /// Returns the value of the field `dependency` of log events: [`DATABASE`] if the database did
    /// not answer; events with that field are written once a minute while it lasts. `None` for all
    /// other failures.
    pub fn dependency(&self) -> Option<&'static str> {
        matches!(self, Self::Unavailable(_)).then_some(DATABASE)
    }
}

impl From<DbErr> for Failure {
    fn from(error: DbErr) -> Self {
        if is_busy(&error) {
            return Self::Busy(Busy);
        }
        if is_exhausted(&error) {
            metrics::DB_CONNECTION_TIMEOUTS.increment([]);
        }
        if is_unavailable(&error) { Self::Unavailable(error) } else { Self::Internal(error.into()) }
    }
}

fn unavailable(error: &DbErr) -> &'static str {
    if is_exhausted(error) {
        "all database connections are in use"
    } else {
        "the database is unavailable"
    }
}

/// Returns whether every connection of the pool was in use for as long as a caller may wait.
fn is_exhausted(error: &DbErr) -> bool {
    matches!(error, DbErr::ConnectionAcquire(ConnAcquireErr::Timeout))
}

fn is_unavailable(error: &DbErr) -> bool {
    match error {
        DbErr::ConnectionAcquire(_) => true,
        DbErr::Conn(RuntimeErr::SqlxError(error))
        | DbErr::Exec(RuntimeErr::SqlxError(error))
        | DbErr::Query(RuntimeErr::SqlxError(error)) => sqlx_says_unavailable(error),
        _ => false,
    }
}

fn sqlx_says_unavailable(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        // A connection that ends in the middle of a message.
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::BeginFailed
        | sqlx::Error::Tls(_) => true,
        sqlx::Error::Database(error) => error.code().is_some_and(|it| is_transient(&it)),
        _ => false,
    }
}

/// The SQLSTATE of a write that a read-only server refuses: a standby after a failover, or a
/// database that an operator has made read-only.
const READ_ONLY: &str = "25006";

fn is_transient(code: &str) -> bool {
    /// SQLSTATEs of Postgres: statement or lock timeout, serialization failure, deadlock, a
    /// transaction that was idle for too long, and a read-only server.
    const POSTGRES: [&str; 6] = ["57014", "55P03", "40001", "40P01", "25P03", READ_ONLY];
    /// SQLSTATE classes of Postgres: connection exceptions, insufficient resources, operator
    /// intervention.
    const POSTGRES_CLASSES: [&str; 3] = ["08", "53", "57P"];
    /// Result codes of SQLite: busy and locked, with their extended codes, a full disk, and a file
    /// that cannot be opened.
    const SQLITE: [&str; 8] = ["5", "6", "13", "14", "261", "262", "517", "773"];

    POSTGRES.contains(&code)
        || SQLITE.contains(&code)
        // All SQLSTATEs of Postgres have five characters.
        || code.len() == 5 && POSTGRES_CLASSES.iter().any(|it| code.starts_with(it))
}

/// Returns whether Postgres cancelled a statement because it exceeded the statement timeout.
pub fn is_statement_timeout(error: &DbErr) -> bool {
    has_code(error, "57014")
}

/// Returns whether Postgres did not get a lock within the lock timeout.
pub fn is_lock_timeout(error: &DbErr) -> bool {
    has_code(error, "55P03")
}

fn has_code(error: &DbErr, wanted: &str) -> bool {
    let (DbErr::Conn(RuntimeErr::SqlxError(error))
    | DbErr::Exec(RuntimeErr::SqlxError(error))
    | DbErr::Query(RuntimeErr::SqlxError(error))) = error
    else {
        return false;
    };
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| code == wanted)
}

/// Returns whether a connection must not be used again after this error.
pub(super) fn ends_connection(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(error) => error
            .try_downcast_ref::<PgDatabaseError>()
            .is_some_and(|it| matches!(it.severity(), PgSeverity::Fatal | PgSeverity::Panic)),
        _ => false,
    }
}

/// Returns whether the server refused a write because it, or this session, is read-only.
pub(super) fn is_read_only(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
        .is_some_and(|code| code == READ_ONLY)
}

/// Returns whether the database accepts no connections at the moment but may soon do so: it is
/// starting, or has reached its maximum number of connections.
pub(super) fn is_starting(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(error) => error.kind() == std::io::ErrorKind::ConnectionRefused,
        sqlx::Error::Database(error) => {
            error.code().is_some_and(|it| ["57P03", "53300"].contains(&&*it))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transient_errors_are_distinguished_from_others() {
        for transient in ["57014", "57P03", "53100", "53300", "08006", "25P03", "5", "13", "517"] {
            assert!(is_transient(transient), "{transient}");
        }
        for wrong in ["42P01", "23505", "22021", "1", "11", "19", "2067", "531"] {
            assert!(!is_transient(wrong), "{wrong}");
        }
    }

    #[test]
    fn an_exhausted_pool_is_distinguished_from_an_unavailable_database() {
        let exhausted = Failure::from(DbErr::ConnectionAcquire(ConnAcquireErr::Timeout));
        assert_eq!(exhausted.to_string(), "all database connections are in use");
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let refused = DbErr::Conn(RuntimeErr::SqlxError(sqlx::Error::Io(refused).into()));
        let refused = Failure::from(refused);
        assert_eq!(refused.to_string(), "the database is unavailable");
    }
}
