//! Metrics that are sampled when Prometheus scrapes: within about a second, and at most once every
//! few seconds, however many scrapers there are.

use std::time::Duration;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use jobs::{
    Stats, What,
    schedule_runs::{self, Runs},
};
use oauth::signing_keys::KeyInfo;
use platform::db::{Database, PoolStatus};
use sea_orm::{DbBackend, FromQueryResult, Statement};
use tokio::time::{Instant, timeout};

use super::sampler::State;
use super::{
    BUILD_INFO, DB_CLOCK_OFFSET, DB_CONNECTIONS, DB_CONNECTIONS_MAX, DB_PING, DB_SIZE,
    JOB_ATTEMPTS, JOB_STATUSES, JOBS_ENDED, JOBS_OVERDUE, JOBS_UNFINISHED, MCP_SESSIONS_OPEN,
    OAUTH_SIGNING_KEY_AGE, OAUTH_SIGNING_KEYS, PG_BLOCKS, PG_CONNECTIONS, PG_DEADLOCKS,
    PG_LONGEST_TRANSACTION, PG_MAX_CONNECTIONS, PG_TRANSACTIONS, QUEUE_DEPTH, REDIS_CLIENTS,
    REDIS_COMMANDS, REDIS_CONNECTIONS, REDIS_EVICTED, REDIS_FULL, REDIS_KEYS, REDIS_MEMORY,
    REDIS_MEMORY_MAX, REDIS_PING, REDIS_RECONNECTS, REDIS_REJECTED, SCHEDULE_RUNS, TASKS, UP,
    WORKER_SILENCE,
};
use crate::App;

/// The time limit for each source. Prometheus gives up a scrape after ten seconds.
const SAMPLE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a sample is reused, so that many scrapers do not load the database.
const SAMPLE_LIFETIME: Duration = Duration::from_secs(3);

/// How long expensive values are reused: the size of the database, and the number of sessions.
const EXPENSIVE_LIFETIME: Duration = Duration::from_mins(1);

/// The number of Redis keys after which the scan for the estimate of sessions ends.
const MIN_SCANNED_KEYS: usize = 2_000;

/// The states of a signing key that are relevant to operators.
const KEY_STATES: [&str; 6] = ["signing", "pending", "active", "retiring", "retired", "revoked"];

/// The states of a connection to Postgres that are distinguished.
const CONNECTION_STATES: [&str; 4] = ["active", "idle", "idle in transaction", "other"];

/// Renders all metrics of this process in the text format of Prometheus. Takes little more than a
/// second, even if a dependency does not respond.
pub async fn render(app: &App) -> String {
    // While another request takes a sample, this one returns the latest known values.
    if let Ok(mut state) = app.sampler().0.try_lock() {
        state.refresh(app).await;
    }
    super::rendered()
}

/// The label value for the state of a signing key.
fn signing_key_state(key: &KeyInfo) -> &'static str {
    use entity::oauth_signing_keys::State as Key;
    match key.state {
        _ if key.signs => "signing",
        Key::Pending => "pending",
        Key::Active => "active",
        Key::Retiring => "retiring",
        Key::Retired => "retired",
        Key::Revoked => "revoked",
    }
}

impl State {
    async fn refresh(&mut self, app: &App) {
        if self.at.is_some_and(|at| at.elapsed() < SAMPLE_LIFETIME) {
            return;
        }
        let is_expensive_due =
            self.expensive_at.is_none_or(|at| at.elapsed() >= EXPENSIVE_LIFETIME);
        self.process.collect();
        runtime(app);
        let (database, ()) =
            tokio::join!(database(app, is_expensive_due), self.redis(app, is_expensive_due));
        UP.set(["database"], if database { 1.0 } else { 0.0 });
        let now = Instant::now();
        self.at = Some(now);
        if is_expensive_due {
            self.expensive_at = Some(now);
        }
    }

    async fn redis(&mut self, app: &App, is_expensive_due: bool) {
        let Some(settings) = &app.config().redis else {
            return;
        };
        let sampling = async {
            let mut connection = if let Some(connection) = self.redis.take() {
                connection
            } else {
                if self.redis_was_connected {
                    REDIS_RECONNECTS.increment([]);
                }
                let client = redis::Client::open(settings.url.expose())?;
                client.get_multiplexed_async_connection().await?
            };
            let started = Instant::now();
            let info: String = redis::cmd("INFO").query_async(&mut connection).await?;
            REDIS_PING.set([], started.elapsed().as_secs_f64());
            set_redis_metrics(&info);
            let keys: u64 = redis::cmd("DBSIZE").query_async(&mut connection).await?;
            REDIS_KEYS.set([], float(keys));
            if is_expensive_due {
                let sessions = sessions(&mut connection, &settings.prefix, keys).await?;
                MCP_SESSIONS_OPEN.set([], sessions);
            }
            anyhow::Ok(connection)
        };
        match timeout(SAMPLE_TIMEOUT, sampling)
            .await
            .context("Redis did not respond in time")
            .flatten()
        {
            Ok(connection) => {
                self.redis = Some(connection);
                self.redis_was_connected = true;
                UP.set(["redis"], 1.0);
            }
            Err(error) => {
                tracing::debug!(error = ?error, "Could not sample Redis");
                UP.set(["redis"], 0.0);
                for gauge in [&REDIS_PING, &REDIS_MEMORY, &REDIS_CLIENTS, &REDIS_KEYS] {
                    gauge.unknown([]);
                }
            }
        }
    }
}

/// Sets the metrics that need no dependency.
fn runtime(app: &App) {
    let revision = app.config().revision.as_deref().unwrap_or("unknown");
    BUILD_INFO.set([env!("CARGO_PKG_VERSION"), revision], 1.0);
    let runtime = tokio::runtime::Handle::current().metrics();
    TASKS.set([], count(runtime.num_alive_tasks()));
    QUEUE_DEPTH.set([], count(runtime.global_queue_depth()));

    let PoolStatus { open, idle, .. } = app.db().status();
    DB_CONNECTIONS.set(["used"], count(open - idle));
    DB_CONNECTIONS.set(["idle"], count(idle));
    DB_CONNECTIONS_MAX.set([], f64::from(app.config().database.max_connections));
}

/// Samples the database. `false`: it failed or did not respond in time.
async fn database(app: &App, is_expensive_due: bool) -> bool {
    let sampling = async {
        let db = app.db();
        let started = Instant::now();
        db.ping().await?;
        DB_PING.set([], started.elapsed().as_secs_f64());
        if db.get_database_backend() == DbBackend::Postgres {
            postgres(app, db).await?;
        }
        signing_keys(app).await?;
        jobs_and_workers(app).await?;
        if is_expensive_due {
            DB_SIZE.set([], size(db).await?);
        }
        anyhow::Ok(())
    };
    match timeout(SAMPLE_TIMEOUT, sampling)
        .await
        .context("the database did not respond in time")
        .flatten()
    {
        Ok(()) => true,
        Err(error) => {
            tracing::debug!(error = ?error, "Could not sample the database");
            for gauge in [
                &DB_PING,
                &DB_CLOCK_OFFSET,
                &PG_LONGEST_TRANSACTION,
                &JOBS_OVERDUE,
                &WORKER_SILENCE,
            ] {
                gauge.unknown([]);
            }
            for status in JOB_STATUSES {
                JOBS_UNFINISHED.unknown([status]);
            }
            for state in CONNECTION_STATES {
                PG_CONNECTIONS.unknown([state]);
            }
            false
        }
    }
}

#[derive(FromQueryResult)]
struct Server {
    now: DateTime<Utc>,
    max_connections: i64,
    active: i64,
    idle: i64,
    idle_in_transaction: i64,
    connections: i64,
    longest_transaction: f64,
    committed: i64,
    rolled_back: i64,
    blocks_hit: i64,
    blocks_read: i64,
    deadlocks: i64,
}

/// One row with all values. Counting the activity of other users requires no privilege to see it.
const SERVER: &str = "\
    SELECT clock_timestamp() AS now, \
      current_setting('max_connections')::bigint \
        - current_setting('superuser_reserved_connections')::bigint AS max_connections, \
      count(*) FILTER (WHERE a.state = 'active') AS active, \
      count(*) FILTER (WHERE a.state = 'idle') AS idle, \
      count(*) FILTER (WHERE a.state LIKE 'idle in transaction%') AS idle_in_transaction, \
      count(*) AS connections, \
      coalesce(extract(epoch FROM clock_timestamp() - min(a.xact_start)), 0)::float8 \
        AS longest_transaction, \
      max(d.xact_commit) AS committed, max(d.xact_rollback) AS rolled_back, \
      max(d.blks_hit) AS blocks_hit, max(d.blks_read) AS blocks_read, \
      max(d.deadlocks) AS deadlocks \
    FROM pg_stat_activity a, pg_stat_database d \
    WHERE a.backend_type = 'client backend' AND d.datname = current_database()";

async fn postgres(app: &App, db: &Database) -> anyhow::Result<()> {
    let sent_at = app.clock().now();
    let started = Instant::now();
    let statement = Statement::from_string(DbBackend::Postgres, SERVER);
    let server = Server::find_by_statement(statement)
        .one(db)
        .await?
        .context("an aggregate returned no row")?;
    // The database read its clock at some time between the request and the response.
    let middle = sent_at + started.elapsed() / 2;
    let offset = (server.now - middle).as_seconds_f64();
    DB_CLOCK_OFFSET.set([], offset);
    PG_MAX_CONNECTIONS.set([], signed(server.max_connections));
    let other = server.connections - server.active - server.idle - server.idle_in_transaction;
    let counts = [server.active, server.idle, server.idle_in_transaction, other];
    for (state, count) in CONNECTION_STATES.into_iter().zip(counts) {
        PG_CONNECTIONS.set([state], signed(count));
    }
    PG_LONGEST_TRANSACTION.set([], server.longest_transaction);
    for (outcome, total) in [("committed", server.committed), ("rolled_back", server.rolled_back)] {
        PG_TRANSACTIONS.total([outcome], unsigned(total));
    }
    for (source, total) in [("cache", server.blocks_hit), ("disk", server.blocks_read)] {
        PG_BLOCKS.total([source], unsigned(total));
    }
    PG_DEADLOCKS.total([], unsigned(server.deadlocks));
    Ok(())
}

async fn signing_keys(app: &App) -> anyhow::Result<()> {
    let now = app.clock().now();
    let keys = app.oauth().keys().list().await?;
    for state in KEY_STATES {
        let ages = || {
            let of_state = keys.iter().filter(|key| signing_key_state(key) == state);
            of_state.map(|key| (now - key.created_at).as_seconds_f64())
        };
        OAUTH_SIGNING_KEYS.set([state], count(ages().count()));
        match ages().reduce(f64::max) {
            Some(age) if !["retired", "revoked"].contains(&state) => {
                OAUTH_SIGNING_KEY_AGE.set([state], age);
            }
            _ => OAUTH_SIGNING_KEY_AGE.set([state], 0.0),
        }
    }
    Ok(())
}

async fn jobs_and_workers(app: &App) -> anyhow::Result<()> {
    let Stats { queued, running, waiting, input_required, oldest_due } =
        jobs::stats(app.jobs()).await?;
    for (status, count) in JOB_STATUSES.into_iter().zip([queued, running, waiting, input_required])
    {
        JOBS_UNFINISHED.set([status], float(count));
    }
    JOBS_OVERDUE.set([], oldest_due.as_secs_f64());
    // First writes the counts of this process, which include jobs that never ran in a worker, such as
    // cancelled ones. In a separate task, because this one may be dropped at any await.
    let writer_app = app.clone();
    let writing = tokio::spawn(async move { jobs::write_totals(writer_app.jobs()).await });
    if let Err(error) = writing.await.context("the task that writes job totals panicked")? {
        tracing::warn!(
            dependency = error.dependency(), error = ?error,
            "Could not write the totals of jobs; retrying with the next sample"
        );
    }
    for total in jobs::totals(app.jobs()).await? {
        let metric = match total.what {
            What::Job => &JOBS_ENDED,
            What::Attempt => &JOB_ATTEMPTS,
        };
        metric.total([&total.tool, &total.how], total.total);
    }
    for (schedule, Runs { ran, failed }) in schedule_runs::totals(app.jobs()).await? {
        SCHEDULE_RUNS.total([&schedule, "ran"], ran);
        SCHEDULE_RUNS.total([&schedule, "failed"], failed);
    }
    let last_run = schedule_runs::last(app.jobs()).await?;
    let silence =
        last_run.map_or(f64::INFINITY, |at| (app.clock().now() - at).as_seconds_f64().max(0.0));
    WORKER_SILENCE.set([], silence);
    Ok(())
}

async fn size(db: &Database) -> anyhow::Result<f64> {
    #[derive(FromQueryResult)]
    struct Size {
        bytes: i64,
    }
    let backend = db.get_database_backend();
    let sql = match backend {
        DbBackend::Postgres => "SELECT pg_database_size(current_database()) AS bytes",
        _ => "SELECT page_count * page_size AS bytes FROM pragma_page_count(), pragma_page_size()",
    };
    let statement = Statement::from_string(backend, sql);
    let size =
        Size::find_by_statement(statement).one(db).await?.context("the query returned no row")?;
    Ok(signed(size.bytes))
}

/// Sets the metrics that come from the response to `INFO`.
fn set_redis_metrics(info: &str) {
    let value = |name: &str| -> Option<u64> {
        let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().parse().ok()
    };
    for (gauge, name) in [
        (&REDIS_MEMORY, "used_memory"),
        (&REDIS_MEMORY_MAX, "maxmemory"),
        (&REDIS_CLIENTS, "connected_clients"),
    ] {
        if let Some(value) = value(name) {
            gauge.set([], float(value));
        }
    }
    let refused = info.lines().find_map(|line| line.strip_prefix("errorstat_OOM:count="));
    REDIS_FULL.total([], refused.and_then(|count| count.trim().parse().ok()).unwrap_or(0));
    for (counter, name) in [
        (&REDIS_COMMANDS, "total_commands_processed"),
        (&REDIS_CONNECTIONS, "total_connections_received"),
        (&REDIS_EVICTED, "evicted_keys"),
        (&REDIS_REJECTED, "rejected_connections"),
    ] {
        if let Some(value) = value(name) {
            counter.total([], value);
        }
    }
}

/// Estimates the number of sessions: their part of a sample of keys, times the number of all keys.
/// SCAN returns keys in the order of their hashes, so the first ones are a random sample.
async fn sessions(
    connection: &mut redis::aio::MultiplexedConnection,
    prefix: &str,
    keys: u64,
) -> anyhow::Result<f64> {
    let (mut cursor, mut scanned, mut found) = (0_u64, 0_usize, 0_usize);
    let first = format!("{prefix}mcp:");
    loop {
        let (next, page): (u64, Vec<String>) =
            redis::cmd("SCAN").arg(cursor).arg("COUNT").arg(500).query_async(connection).await?;
        scanned += page.len();
        found +=
            page.iter().filter(|key| key.starts_with(&first) && key.ends_with(":session")).count();
        cursor = next;
        if cursor == 0 {
            return Ok(count(found));
        }
        if scanned >= MIN_SCANNED_KEYS {
            return Ok((float(keys) * count(found) / count(scanned)).round());
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a gauge is a float; 2^53 is more than any of these"
)]
fn float(value: u64) -> f64 {
    value as f64
}

fn count(value: usize) -> f64 {
    float(u64::try_from(value).unwrap_or(u64::MAX))
}

fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

fn signed(value: i64) -> f64 {
    float(unsigned(value))
}
