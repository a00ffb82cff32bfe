//! The address of the database, and the settings of each connection to it.

use std::{str::FromStr as _, time::Duration};

use anyhow::Context as _;
use sea_orm::DbBackend;
use sqlx::{
    ConnectOptions as _,
    postgres::PgConnectOptions,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};

use super::limits::STATEMENT_TIMEOUT;
use crate::{private_files, secret::Secret};

/// How long a writer on SQLite waits for another one. The same as the limit on a statement on
/// Postgres.
const BUSY_TIMEOUT: Duration = STATEMENT_TIMEOUT;

/// How long Postgres keeps a transaction whose client sends nothing: then the locks of an instance
/// that vanished without closing its connection are released. Longer than any pause inside a
/// transaction.
const IDLE_IN_TRANSACTION_TIMEOUT: Duration = Duration::from_secs(15);

/// Postgres must not compile statements: at 10 million rows it estimates that a search costs enough
/// for it, and the compilation takes 20 ms for a statement that takes one.
const NO_COMPILATION: (&str, &str) = ("jit", "off");

/// TCP settings of Postgres: seconds until it sends a keepalive to a silent client, seconds between
/// keepalives, how many may stay unanswered, and milliseconds that sent data may stay
/// unacknowledged. With the defaults it keeps the connection of a client that vanished for two
/// hours.
const TCP_KEEPALIVES: [(&str, &str); 4] = [
    ("tcp_keepalives_idle", "30"),
    ("tcp_keepalives_interval", "10"),
    ("tcp_keepalives_count", "3"),
    ("tcp_user_timeout", "30000"),
];

/// A parsed `DATABASE_URL` with the settings of this program.
#[derive(Clone)]
pub(super) enum Target {
    Postgres(Box<PgConnectOptions>),
    Sqlite(Box<SqliteConnectOptions>),
}

impl Target {
    /// Parses a URL. No error repeats any part of it, since it may contain a password.
    pub(super) fn parse(url: &Secret, program: &str) -> anyhow::Result<Self> {
        let text = url.expose();
        if text.starts_with("sqlite:") {
            let options = SqliteConnectOptions::from_str(text)
                .ok()
                .context("DATABASE_URL is not a valid SQLite URL")?;
            return Ok(Self::Sqlite(Box::new(sqlite(options))));
        }
        let options = PgConnectOptions::from_str(text).ok().context(
            "DATABASE_URL is not a valid Postgres URL. In a password, percent-encode / # ? @ and %",
        )?;
        Ok(Self::Postgres(Box::new(postgres(options, program))))
    }

    pub(super) fn backend(&self) -> DbBackend {
        match self {
            Self::Postgres(_) => DbBackend::Postgres,
            Self::Sqlite(_) => DbBackend::Sqlite,
        }
    }

    /// Creates a SQLite file, with its directory, that only its owner can read, if it does not
    /// exist.
    pub(super) fn prepare(&self) -> anyhow::Result<()> {
        let Self::Sqlite(options) = self else { return Ok(()) };
        let file = options.get_filename();
        // A special name of SQLite, such as that of a database in memory.
        if file.as_os_str().is_empty() || file.to_string_lossy().starts_with("file:") {
            return Ok(());
        }
        if let Some(directory) = file.parent()
            && !directory.as_os_str().is_empty()
            && !directory.exists()
        {
            private_files::create_directory(directory)
                .with_context(|| format!("could not create {}", directory.display()))?;
        }
        // SQLite creates its other files beside it with the same permissions.
        private_files::create_file(file)
            .with_context(|| format!("could not create {}", file.display()))
    }
}

fn postgres(options: PgConnectOptions, program: &str) -> PgConnectOptions {
    let timeouts = [
        ("statement_timeout", STATEMENT_TIMEOUT.as_millis().to_string()),
        (
            "idle_in_transaction_session_timeout",
            IDLE_IN_TRANSACTION_TIMEOUT.as_millis().to_string(),
        ),
    ];
    // A socket address has no brackets, unlike the host of a URL.
    let host = options.get_host().trim_start_matches('[').trim_end_matches(']').to_owned();
    options
        .host(&host)
        .application_name(program)
        .options(timeouts)
        .options([NO_COMPILATION])
        .options(TCP_KEEPALIVES)
        .disable_statement_logging()
}

fn sqlite(options: SqliteConnectOptions) -> SqliteConnectOptions {
    options
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal) // safe with a write-ahead log
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(true)
        .disable_statement_logging()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_names_of_the_postgres_scheme_are_accepted() {
        for scheme in ["postgres", "postgresql"] {
            let url = Secret::new(format!("{scheme}://user:secret@[::1]:5433/notes"));
            let target = Target::parse(&url, "test").unwrap();
            assert_eq!(target.backend(), DbBackend::Postgres, "{scheme}");
        }
    }

    #[test]
    fn a_url_that_cannot_be_parsed_is_not_repeated() {
        for url in ["postgres://user:se/cret@host/notes", "postgres://user:se#cret@host:x/notes"] {
            if let Err(error) = Target::parse(&Secret::new(url), "test") {
                assert!(!format!("{error:?} {error:#}").contains("cret"), "{error:?}");
            }
        }
        assert!(
            Target::parse(&Secret::new("postgres://user:pass@host:port/notes"), "test").is_err()
        );
    }

    #[test]
    fn the_directory_of_a_sqlite_file_is_created() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("a?b").join("notes.db");
        let url = format!("sqlite://{}", path.display().to_string().replace('?', "%3F"));
        Target::parse(&Secret::new(url), "test").unwrap().prepare().unwrap();
        assert!(folder.path().join("a?b").is_dir());
        Target::parse(&Secret::new("sqlite::memory:"), "test").unwrap().prepare().unwrap();
    }
}
