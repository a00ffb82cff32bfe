//! The connection of a process to Redis for commands, shared by this crate and by the crates that
//! are built on it.
//!
//! It is multiplexed: the commands of many tasks are in flight at the same time, and commands that
//! are awaited together take one round trip. Whether the server is a cluster is detected when
//! connecting; in a cluster, all keys of one script or pipeline must have the same hash tag.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use deadpool_redis::{Manager, Pool, Runtime};
use redis::{
    AsyncConnectionConfig, Cmd, ConnectionInfo, FromRedisValue, IntoConnectionInfo as _, Pipeline,
    RedisFuture, RedisResult, ScriptInvocation, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
    io::tcp::{TcpSettings, socket2::TcpKeepalive},
};
use tokio::time::Instant;
use tracing::Instrument as _;

use super::value::{REDIS, unavailable};
use crate::{
    store::{StoreError, Topic},
    trace,
};

/// The timeout of a command. A healthy Redis answers within a millisecond.
pub(super) const COMMAND_LIMIT: Duration = Duration::from_secs(2);

/// The timeout of connecting.
pub(super) const CONNECT_LIMIT: Duration = Duration::from_secs(1);

/// A connection that was idle for longer is checked before it is used.
const TRUST_IDLE: Duration = Duration::from_millis(500);

/// The timeout of this check.
const CHECK_LIMIT: Duration = Duration::from_secs(1);

/// TCP: the idle time before the first keep-alive probe, and the time within which sent data must
/// be acknowledged.
const TCP_SILENCE: Duration = Duration::from_secs(15);

/// TCP: the interval between keep-alive probes, and the number of unanswered ones after which the
/// connection is closed.
const TCP_KEEPALIVES: (Duration, u32) = (Duration::from_secs(5), 3);

/// The TCP settings of every connection to Redis.
fn tcp_settings() -> TcpSettings {
    let (interval, retries) = TCP_KEEPALIVES;
    let keepalive =
        TcpKeepalive::new().with_time(TCP_SILENCE).with_interval(interval).with_retries(retries);
    let settings = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive);
    #[cfg(target_os = "linux")]
    let settings = settings.set_user_timeout(TCP_SILENCE);
    settings
}

/// The Redis connection of a process, and its key prefix. Cheap to clone: all clones share the
/// connection, which is established on first use and re-established after a loss.
#[derive(Clone)]
pub struct Connection {
    shared: Arc<Shared>,
    observer: Option<Arc<Observer>>,
}

type Observer = dyn Fn(&RoundTrip) + Send + Sync;

/// A round trip to Redis that has ended.
#[derive(Clone, Copy, Debug)]
pub struct RoundTrip {
    /// The name of the operation of a store, such as `session_load`.
    pub operation: &'static str,
    /// Whether Redis carried it out.
    pub succeeded: bool,
    /// Its duration, including the time to connect if that was necessary.
    pub duration: Duration,
}

struct Shared {
    /// May contain a password.
    address: ConnectionInfo,
    prefix: String,
    pool: Pool,
    held: Mutex<Held>,
    /// Locked while connecting, so that one task connects for all waiting ones. Contains the time
    /// of the last attempt if that failed.
    connecting: tokio::sync::Mutex<Option<Instant>>,
    /// When Redis last refused a write because its memory was full.
    full: Mutex<Option<Instant>>,
}

/// How long Redis is reported as full after it has refused a write.
const FULL_FOR: Duration = Duration::from_mins(1);

/// The error code of Redis when it has reached `maxmemory` and must not evict.
const OUT_OF_MEMORY: &str = "OOM";

/// The error code of a server that has become a replica. Its address may lead to another server by
/// now, while its connections stay open.
const READ_ONLY: &str = "READONLY";

/// The current connection.
#[derive(Default)]
struct Held {
    /// The connection, and the time of its last answer.
    link: Option<(Link, Instant)>,
    /// The number of the connection, from 1: an error of an earlier connection must not close this
    /// one.
    number: u64,
}

impl Connection {
    /// Creates a connection to a `redis://` or `rediss://` URL, without connecting yet. Every key
    /// and channel begins with `prefix`, so that several products can share a server.
    pub fn new(url: &str, prefix: &str) -> Result<Self, StoreError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_LIMIT))
            .set_response_timeout(Some(COMMAND_LIMIT));
        let address =
            url.into_connection_info().map_err(unavailable)?.set_tcp_settings(tcp_settings());
        let manager = Manager::new_with_config(address.clone(), config).map_err(unavailable)?;
        let pool = Pool::builder(manager)
            // One connection in use, and one that replaces it while it is being closed.
            .max_size(2)
            .create_timeout(Some(CONNECT_LIMIT))
            .wait_timeout(Some(COMMAND_LIMIT))
            .recycle_timeout(Some(COMMAND_LIMIT))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(unavailable)?;
        let prefix = prefix.to_owned();
        let (held, connecting) = (Mutex::default(), tokio::sync::Mutex::default());
        let full = Mutex::default();
        let shared = Arc::new(Shared { address, prefix, pool, held, connecting, full });
        Ok(Self { shared, observer: None })
    }

    /// Calls a function after each round trip of this connection and of its later clones, for
    /// metrics. It must not block.
    #[must_use]
    pub fn with_observer(self, observer: impl Fn(&RoundTrip) + Send + Sync + 'static) -> Self {
        Self { observer: Some(Arc::new(observer)), ..self }
    }

    /// The prefix of every key and channel.
    pub fn prefix(&self) -> &str {
        &self.shared.prefix
    }

    /// Whether Redis has refused a write of this process within the last minute because its memory
    /// is full.
    pub fn is_full(&self) -> bool {
        let full = self.shared.full.lock().unwrap_or_else(PoisonError::into_inner);
        full.is_some_and(|at| at.elapsed() < FULL_FOR)
    }

    /// Records that a write was refused because Redis is full, and logs it once per outage.
    fn note_full(&self) {
        let mut full = self.shared.full.lock().unwrap_or_else(PoisonError::into_inner);
        if full.is_none_or(|at| at.elapsed() >= FULL_FOR) {
            tracing::error!(
                "Redis has reached its memory limit and refuses writes: no session or sign-in can \
                 start. Increase its memory; the command `store` lists the usage per user"
            );
        }
        *full = Some(Instant::now());
    }

    /// The channel on which signals of a topic are published.
    pub fn channel(&self, topic: &Topic) -> String {
        let prefix = self.prefix();
        match topic {
            Topic::User(user) => format!("{prefix}user:{user}"),
            Topic::Everyone => format!("{prefix}everyone"),
            Topic::Session(session) => format!("{prefix}mcp:{{{}}}", session.as_str()),
            Topic::Control => format!("{prefix}control"),
            Topic::Job(job) => format!("{prefix}job:{job}"),
            Topic::Work => format!("{prefix}work"),
            Topic::Worker(name) => format!("{prefix}worker:{name}"),
        }
    }

    /// The address and TCP settings, for further connections.
    pub(super) fn address(&self) -> ConnectionInfo {
        self.shared.address.clone()
    }

    /// Runs a script. `operation`: its name for the observer.
    pub async fn script<T: FromRedisValue>(
        &self,
        operation: &'static str,
        invocation: &ScriptInvocation<'_>,
    ) -> Result<T, StoreError> {
        let asking = async {
            let (mut link, number) = self.link().await?;
            let result = invocation.invoke_async(&mut link).await;
            self.record_result(number, result)
        };
        self.timed(operation, asking.instrument(trace::redis("EVALSHA"))).await
    }

    /// Sends one command. In a cluster, a command without a key may be sent to every node, and its
    /// replies are combined. `operation`: its name for the observer. `name`: that of the command, for
    /// traces.
    pub(super) async fn command<T: FromRedisValue>(
        &self,
        operation: &'static str,
        name: &'static str,
        command: &Cmd,
    ) -> Result<T, StoreError> {
        let asking = async {
            let (mut link, number) = self.link().await?;
            let result = command.query_async(&mut link).await;
            self.record_result(number, result)
        };
        self.timed(operation, asking.instrument(trace::redis(name))).await
    }

    /// Sends the commands of a pipeline in one round trip. `operation`: its name for the observer.
    pub async fn pipeline<T: FromRedisValue>(
        &self,
        operation: &'static str,
        pipeline: &Pipeline,
    ) -> Result<T, StoreError> {
        let asking = async {
            let (mut link, number) = self.link().await?;
            let result = pipeline.query_async(&mut link).await;
            self.record_result(number, result)
        };
        self.timed(operation, asking.instrument(trace::redis("PIPELINE"))).await
    }

    /// Awaits a round trip, and reports it to the observer.
    pub(super) async fn timed<T>(
        &self,
        operation: &'static str,
        round_trip: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let Some(observer) = &self.observer else {
            return round_trip.await;
        };
        let started = Instant::now();
        let result = round_trip.await;
        observer(&RoundTrip { operation, succeeded: result.is_ok(), duration: started.elapsed() });
        result
    }

    /// Returns the connection and its number; connects if necessary.
    async fn link(&self) -> Result<(Link, u64), StoreError> {
        if let Some(link) = self.checked().await {
            return Ok(link);
        }
        let began = Instant::now();
        let connecting = self.shared.connecting.lock();
        let mut failed =
            tokio::time::timeout(COMMAND_LIMIT, connecting).await.map_err(unavailable)?;
        // Another task may have connected in the meantime, or have failed to.
        if let Some(link) = self.current() {
            return Ok(link);
        }
        if failed.is_some_and(|failed_at| failed_at >= began) {
            return Err(unavailable("Redis could not be reached a moment ago"));
        }
        // Boxed: a future that connects is large, and almost every caller finds an open connection.
        let connected = Box::pin(self.connect()).await;
        if failed.is_some() && connected.is_ok() {
            tracing::info!(dependency = REDIS, "Connected to Redis again");
        }
        *failed = connected.is_err().then(Instant::now);
        let link = connected?;
        let mut held = self.held();
        held.number += 1;
        held.link = Some((link.clone(), Instant::now()));
        Ok((link, held.number))
    }

    fn current(&self) -> Option<(Link, u64)> {
        let held = self.held();
        held.link.clone().map(|(link, _)| (link, held.number))
    }

    /// Returns the current connection if it works. One that was idle is checked with a `PING`,
    /// because it may have been closed or interrupted without notice.
    async fn checked(&self) -> Option<(Link, u64)> {
        let (link, used_at, number) = {
            let held = self.held();
            let (link, used_at) = held.link.clone()?;
            (link, used_at, held.number)
        };
        let Link::One(mut one) = link.clone() else {
            return Some((link, number)); // the cluster client reconnects to its nodes itself
        };
        if used_at.elapsed() < TRUST_IDLE {
            return Some((link, number));
        }
        let ping = redis::cmd("PING");
        let asking = ping.query_async::<Value>(&mut one);
        if let Ok(Ok(_)) = tokio::time::timeout(CHECK_LIMIT, asking).await {
            self.answered(number);
            return Some((link, number));
        }
        self.forget(number);
        None
    }

    /// Records that a connection has answered.
    fn answered(&self, number: u64) {
        let mut held = self.held();
        if held.number == number
            && let Some((_, used_at)) = &mut held.link
        {
            *used_at = Instant::now();
        }
    }

    /// Drops a connection, unless it was replaced already.
    fn forget(&self, number: u64) {
        let mut held = self.held();
        if held.number == number {
            held.link = None;
        }
    }

    async fn connect(&self) -> Result<Link, StoreError> {
        let pooled = self.shared.pool.get().await.map_err(unavailable)?;
        // Removed from the pool, which would check a dead connection before it creates a new one.
        let mut one = deadpool_redis::Connection::take(pooled);
        let info: String = redis::cmd("INFO").arg("cluster").query_async(&mut one).await?;
        if !info.contains("cluster_enabled:1") {
            return Ok(Link::One(one));
        }
        let client = ClusterClient::builder([self.address()])
            .connection_timeout(CONNECT_LIMIT)
            .response_timeout(COMMAND_LIMIT)
            .tcp_settings(tcp_settings())
            .build()?;
        let connecting = client.get_async_connection();
        let many = tokio::time::timeout(COMMAND_LIMIT, connecting).await.map_err(unavailable)??;
        Ok(Link::Many(many))
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.shared.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records the result of a command. A broken connection is not used again.
    fn record_result<T>(&self, number: u64, result: RedisResult<T>) -> Result<T, StoreError> {
        if result.is_ok() {
            self.answered(number);
        }
        result.map_err(|error| {
            trace::failed(error.code().unwrap_or("unavailable"));
            if has_code(&error, OUT_OF_MEMORY) {
                self.note_full();
            }
            let is_broken =
                error.is_io_error() || error.is_connection_dropped() || error.is_timeout();
            if is_broken || has_code(&error, READ_ONLY) {
                self.forget(number);
            }
            unavailable(error)
        })
    }
}

/// Whether Redis has answered with this error code. In a transaction, the code is only part of the text
/// of the error.
fn has_code(error: &redis::RedisError, code: &str) -> bool {
    error.code() == Some(code) || error.to_string().contains(code)
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connection")
    }
}

/// A connection to a single server, or to the nodes of a cluster.
#[derive(Clone)]
enum Link {
    One(MultiplexedConnection),
    Many(ClusterConnection),
}

impl ConnectionLike for Link {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::One(one) => one.req_packed_command(cmd),
            Self::Many(many) => many.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::One(one) => one.req_packed_commands(pipeline, offset, count),
            Self::Many(many) => many.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::One(one) => one.get_db(),
            Self::Many(many) => many.get_db(),
        }
    }
}
