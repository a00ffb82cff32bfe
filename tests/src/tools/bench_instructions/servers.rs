//! The servers that are measured, and the data that they share.

use std::{
    collections::HashMap,
    path::{Path as FilePath, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use app::{App, config::Config};
use mcp::{Stores, UserId};
use notes::scopes::{READ, WRITE};
use oauth::access_token::NewToken;
use platform::clock::SystemClock;
use sea_orm::{ConnectionTrait as _, Database, DatabaseConnection, DbBackend, Statement};
use tests::{postgres, processes::built, redis};

use super::{
    callgrind::Server,
    pace::paced,
    paths::{self, Path},
};

/// A fixed port, which no server uses, so that the length of tokens is the same in every run.
pub(super) const PUBLIC_URL: &str = "http://127.0.0.1:38100";

/// Every 102nd of these notes belongs to the user of the benchmark: 200 of 20,400.
const NOTES: &str = "
INSERT INTO notes (id, owner_sub, title, body, tags, created_at, updated_at, search, search_version)
SELECT ('019b7000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid,
    CASE WHEN n % 102 = 0 THEN 'dev:bench' ELSE 'dev:p' || n % 101 END,
    'A note of the benchmark', 'The quick brown fox jumps over the lazy dog.', '[]',
    '2026-01-01'::timestamptz + n * interval '1.000007 seconds',
    '2026-01-01'::timestamptz + n * interval '1.000007 seconds',
    $$'note':2A 'benchmark':5A 'quick':8 'brown':9 'fox':10$$, 1
FROM generate_series(1, 20400) AS n";

/// The data and the settings that all servers share.
pub(super) struct Setup {
    folder: PathBuf,
    database_url: String,
    database: DatabaseConnection,
    /// A token for each call of the path whose tokens are new.
    pub(super) tokens: Vec<String>,
}

impl Setup {
    pub(super) async fn new(folder: &FilePath, tokens: usize) -> anyhow::Result<Self> {
        let database_url = postgres::fresh_database(&notes::product()).await;
        let database = Database::connect(&database_url).await?;
        database.execute_unprepared(NOTES).await?;
        database.execute_unprepared("VACUUM ANALYZE notes").await?;
        let database_url = paced_url(&database_url).await?;
        let folder = folder.to_owned();
        let mut setup = Self { folder, database_url, database, tokens: Vec::new() };
        setup.mint(tokens).await?;
        Ok(setup)
    }

    async fn mint(&mut self, count: usize) -> anyhow::Result<()> {
        let environment = self.environment();
        let config = Config::read(&notes::product(), |name| environment.get(name).cloned())?;
        let bus = Stores::in_memory(config.session_ttl).bus;
        let app = App::connect(&config, Arc::new(SystemClock), bus).await?;
        // One more, for the paths with one token.
        for _ in 0..=count {
            let token = app.oauth().tokens().mint(NewToken {
                user: UserId::new("dev:bench"),
                client: "bench".to_owned(),
                scopes: [READ, WRITE].map(ToOwned::to_owned).into(),
                session_id: "bench".to_owned(),
                signed_in_at: None,
                ttl: None,
                dpop_key: None,
            });
            self.tokens.push(token.await.context("a token cannot be minted")?);
        }
        app.close().await;
        Ok(())
    }

    fn environment(&self) -> HashMap<String, String> {
        let variables = [
            ("PUBLIC_URL", PUBLIC_URL.to_owned()),
            ("DATABASE_URL", self.database_url.clone()),
            ("DATABASE_MAX_CONNECTIONS", "10".to_owned()),
            ("DATA_DIR", self.folder.display().to_string()),
            ("JWT_SIGNING_SECRET", "the signing secret of the benchmark".to_owned()),
            // Counted as in production, but never reached.
            ("RATE_LIMIT_PER_MINUTE", "100000".to_owned()),
            ("LOG", "warn".to_owned()),
            ("LOG_FORMAT", "json".to_owned()),
        ];
        variables.map(|(name, value)| (name.to_owned(), value)).into()
    }

    /// Returns what a path has done in the database, and removes the notes that it has created, so that
    /// the next one finds the same data.
    pub(super) async fn take_trace(&self) -> anyhow::Result<Trace> {
        let statement = self.text(LAST_STATEMENT).await?;
        let words = self.text(CREATED_WORDS).await?;
        self.database.execute_unprepared(REMOVE_CREATED).await?;
        let statement = statement.split_whitespace().collect::<Vec<_>>().join(" ");
        Ok(Trace { statement, words })
    }

    /// Returns the text in the first row of a query, or an empty one.
    async fn text(&self, sql: &'static str) -> anyhow::Result<String> {
        let statement = Statement::from_string(DbBackend::Postgres, sql);
        let row = self.database.query_one_raw(statement).await?;
        Ok(row.map(|row| row.try_get_by_index(0)).transpose()?.unwrap_or_default())
    }
}

/// What a path has done in the database.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Trace {
    /// The last statement about notes.
    statement: String,
    /// The words of the created notes.
    words: String,
}

const LAST_STATEMENT: &str = "
SELECT query FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE '%notes%'
ORDER BY query_start DESC LIMIT 1";

const CREATED_WORDS: &str = "
SELECT coalesce(string_agg(DISTINCT search::text, ' | '), '') FROM notes WHERE created_at > '2026-01-02'";

const REMOVE_CREATED: &str = "DELETE FROM notes WHERE created_at > '2026-01-02'";

/// The URL of the same server through a proxy that delays its answers.
async fn paced_url(url: &str) -> anyhow::Result<String> {
    let mut url: url::Url = url.parse()?;
    let port = paced(url.port().context("a URL without a port")?).await?;
    url.set_port(Some(port)).map_err(|()| anyhow::anyhow!("the URL has no host"))?;
    Ok(url.to_string())
}

/// A server that is measured.
pub(super) enum Start {
    /// A program of bench/peers, and its arguments.
    Peer { program: PathBuf, name: &'static str, arguments: &'static [&'static str] },
    /// `test-tools bench-engine`: the crate `mcp` alone.
    Engine,
    /// `test-tools bench-web`: the product.
    Product { redis: bool },
}

/// All servers, those that others are compared with first.
pub(super) fn all(peers: &FilePath) -> Vec<Start> {
    let peer = |name: &'static str, program: &str, arguments: &'static [&'static str]| {
        Start::Peer { program: peers.join(program), name, arguments }
    };
    vec![
        peer("floor", "floor", &[]),
        peer("rmcp", "peer-rmcp", &["stateless"]),
        peer("rmcp-sessions", "peer-rmcp", &["sessions"]),
        peer("tower-mcp", "peer-tower-mcp", &[]),
        peer("turbomcp", "peer-turbomcp", &[]),
        Start::Engine,
        Start::Product { redis: false },
        Start::Product { redis: true },
    ]
}

impl Start {
    fn name(&self) -> &'static str {
        match self {
            Self::Peer { name, .. } => name,
            Self::Engine => "engine",
            Self::Product { redis: false } => "product",
            Self::Product { redis: true } => "product-redis",
        }
    }

    pub(super) fn paths(&self) -> Vec<Path> {
        paths::of(self.name())
    }

    pub(super) async fn start(&self, setup: &Setup) -> anyhow::Result<Server> {
        let mut environment = setup.environment();
        let name = self.name();
        match self {
            Self::Peer { program, arguments, .. } => {
                Server::start(name, program.clone(), arguments, environment, &setup.folder)
            }
            Self::Engine => {
                let arguments = ["bench-engine", setup.tokens[0].as_str()];
                Server::start(name, built("test-tools"), &arguments, environment, &setup.folder)
            }
            Self::Product { redis } => {
                if *redis {
                    let url = paced_url(redis::shared().await).await?;
                    environment.insert("REDIS_URL".to_owned(), url);
                    environment.insert("REDIS_PREFIX".to_owned(), "bench:".to_owned());
                }
                let arguments = ["bench-web"];
                Server::start(name, built("test-tools"), &arguments, environment, &setup.folder)
            }
        }
    }
}
