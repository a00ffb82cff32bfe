//! The pool of database connections, and what the failure of a statement lets a caller conclude.

use std::{path::Path, time::Duration};

use anyhow::Context as _;
use sea_orm::{
    ConnAcquireErr, ConnectOptions, ConnectionTrait as _, Database, DatabaseConnection,
    DatabaseTransaction, DbBackend, DbErr, RuntimeErr, SqliteTransactionMode, TransactionOptions,
    TransactionTrait as _,
};
use sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};

use crate::{config::DatabaseSettings, metrics, secret::Secret};

/// How long a request waits for a connection, be it a free one of the pool or a new one. Longer than
/// the usual restart of a pooler, shorter than the patience of a client.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long one statement may run on Postgres. Ours take milliseconds, so this only ends what went
/// wrong before it blocks the pool.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a transaction that locks rows waits for one, and how long each of its statements may
/// take, on Postgres.
const TRANSACTION_BOUNDS: &str =
    "SET LOCAL lock_timeout = '1s'; SET LOCAL statement_timeout = '2s'";

/// How long a writer on SQLite waits for another one. Same bound as a statement on Postgres.
const BUSY_TIMEOUT: Duration = STATEMENT_TIMEOUT;

/// A connection idle for this long is given back, so that a quiet instance holds few.
const IDLE_TIMEOUT: Duration = Duration::from_mins(5);

/// A connection idle for longer than this is tried before it is used: the server, or something in
/// between, may have closed it. One used just now is not, which saves a round trip for each call.
const TRUST_IDLE: Duration = Duration::from_secs(30);

/// At which level the pool tells, by an event of `tracing`, how long somebody waited for a connection.
/// [`crate::telemetry`] counts these events and keeps them out of the log.
const POOL_WAIT_LEVEL: log::LevelFilter = log::LevelFilter::Debug;

/// Why a statement gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The database cannot be reached, or is too busy: the same request may succeed later.
    #[error("the database is unavailable")]
    Unavailable(#[source] DbErr),
    /// Anything else, for the log.
    #[error("the database gave an unexpected answer")]
    Internal(#[source] anyhow::Error),
}

impl From<DbErr> for Failure {
    fn from(error: DbErr) -> Self {
        if matches!(error, DbErr::ConnectionAcquire(ConnAcquireErr::Timeout)) {
            metrics::DB_CONNECTION_TIMEOUTS.count([]);
        }
        if is_unavailable(&error) { Self::Unavailable(error) } else { Self::Internal(error.into()) }
    }
}

/// Opens the pool. A SQLite file, and its directory, is created if it is not there.
pub(crate) async fn connect(settings: &DatabaseSettings) -> anyhow::Result<DatabaseConnection> {
    let url = canonical(&settings.url);
    if let Some(file) = sqlite_file(&url)
        && let Some(directory) = Path::new(&file).parent()
    {
        std::fs::create_dir_all(directory)
            .with_context(|| format!("could not create {}", directory.display()))?;
    }

    let mut options = ConnectOptions::new(url);
    options
        .max_connections(settings.max_connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_timeout(ACQUIRE_TIMEOUT)
        .idle_timeout(IDLE_TIMEOUT)
        .statement_timeout(STATEMENT_TIMEOUT)
        .test_before_acquire(false)
        .test_before_acquire_if_idle_for(TRUST_IDLE)
        .sqlx_logging(false)
        .record_stmt_in_spans(false)
        .set_application_name("notes-mcp")
        .map_sqlx_postgres_pool_opts(|pool| pool.acquire_time_level(POOL_WAIT_LEVEL))
        .map_sqlx_sqlite_pool_opts(|pool| pool.acquire_time_level(POOL_WAIT_LEVEL))
        .map_sqlx_sqlite_opts(|sqlite| {
            sqlite
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Normal) // safe with a write-ahead log
                .busy_timeout(BUSY_TIMEOUT)
                .foreign_keys(true)
        });
    let mut db = Database::connect(options).await.context("could not connect to the database")?;
    if metrics::started() {
        db.set_metric_callback(|statement| {
            let outcome = if statement.failed { "error" } else { "ok" };
            metrics::DB_OPERATION_DURATION.took([outcome], statement.elapsed);
        });
    }
    Ok(db)
}

/// Begins a transaction that will write.
///
/// On SQLite it takes the write lock at once: what is read in it stays true until the commit, as a
/// locked row does on Postgres, and two such transactions take turns. On Postgres a wait for a
/// lock, and each statement, is bounded by far less than usual: whoever waits here holds a
/// connection, and the client would rather be told to try again.
pub(crate) async fn begin(db: &DatabaseConnection) -> Result<DatabaseTransaction, Failure> {
    let transaction = begin_patiently(db).await?;
    if db.get_database_backend() == DbBackend::Postgres {
        transaction.execute_unprepared(TRANSACTION_BOUNDS).await?;
    }
    Ok(transaction)
}

/// The same for what takes its time, with the usual bound on a statement.
pub(crate) async fn begin_patiently(
    db: &DatabaseConnection,
) -> Result<DatabaseTransaction, Failure> {
    let transaction = db
        .begin_with_options(TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..Default::default()
        })
        .await?;
    Ok(transaction)
}

/// Whether the database is there and answers.
pub(crate) async fn ping(db: &DatabaseConnection) -> Result<(), Failure> {
    Ok(db.ping().await?)
}

/// `postgres` and `postgresql` are the same scheme, and SeaORM knows only the first.
fn canonical(url: &Secret) -> String {
    match url.expose().strip_prefix("postgresql:") {
        Some(rest) => format!("postgres:{rest}"),
        None => url.expose().to_owned(),
    }
}

/// The file that a SQLite URL names, if it names one.
fn sqlite_file(url: &str) -> Option<String> {
    let path = url.strip_prefix("sqlite:")?;
    let path = path.strip_prefix("//").unwrap_or(path);
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    let memory = path.is_empty() || path == ":memory:" || url.contains("mode=memory");
    (!memory).then(|| path.replace("%3F", "?").replace("%25", "%"))
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
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::BeginFailed
        | sqlx::Error::Tls(_) => true,
        sqlx::Error::Database(error) => error.code().is_some_and(|it| is_transient(&it)),
        _ => false,
    }
}

fn is_transient(code: &str) -> bool {
    /// Of Postgres: statement or lock timeout, serialization failure, deadlock, and a standby that
    /// is read-only after a fail-over.
    const POSTGRES: [&str; 5] = ["57014", "55P03", "40001", "40P01", "25006"];
    /// Of Postgres, by their beginning: trouble with the connection, out of resources, operator
    /// intervention.
    const POSTGRES_CLASSES: [&str; 3] = ["08", "53", "57P"];
    /// Of SQLite: busy and locked, with their extended codes, and a file that cannot be opened.
    const SQLITE: [&str; 7] = ["5", "6", "14", "261", "262", "517", "773"];

    POSTGRES.contains(&code)
        || SQLITE.contains(&code)
        // All codes of Postgres have five characters.
        || code.len() == 5 && POSTGRES_CLASSES.iter().any(|it| code.starts_with(it))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sqlite_url_names_a_file_or_memory() {
        assert_eq!(sqlite_file("sqlite:./data/notes.db").as_deref(), Some("./data/notes.db"));
        assert_eq!(sqlite_file("sqlite:///tmp/a%3Fb?mode=rwc").as_deref(), Some("/tmp/a?b"));
        for none in ["sqlite::memory:", "sqlite:x?mode=memory", "postgres://localhost/notes"] {
            assert_eq!(sqlite_file(none), None, "{none}");
        }
    }

    #[test]
    fn both_names_of_the_postgres_scheme_are_taken() {
        let url = canonical(&Secret::new("postgresql://user@host/notes"));
        assert_eq!(url, "postgres://user@host/notes");
    }

    #[test]
    fn what_may_pass_is_told_from_what_is_wrong() {
        for transient in ["57014", "57P03", "53300", "08006", "5", "517"] {
            assert!(is_transient(transient), "{transient}");
        }
        for wrong in ["42P01", "23505", "22021", "1", "11", "19", "2067", "531"] {
            assert!(!is_transient(wrong), "{wrong}");
        }
    }
}
