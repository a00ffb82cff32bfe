//! The one connection of a process to Redis for commands, which everything here and everything that
//! is built on this crate shares.
//!
//! It is multiplexed: commands of many tasks travel at the same time, and those that are awaited
//! together cost one round trip together. The server may be one, or a cluster, which is noticed when
//! connecting; in a cluster, the keys of one script or pipeline need one hash tag.

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

/// How long a command may take. Redis answers within a millisecond or is in trouble.
pub(super) const COMMAND_LIMIT: Duration = Duration::from_secs(2);

/// How long connecting may take.
pub(super) const CONNECT_LIMIT: Duration = Duration::from_secs(1);

/// A connection idle for longer than this is checked before it is used.
const TRUST_IDLE: Duration = Duration::from_millis(500);

/// How long such a check may take.
const CHECK_LIMIT: Duration = Duration::from_secs(1);

/// How long the other side may be silent on the level of TCP: until it is asked for a sign of life,
/// and until sent data has to be acknowledged.
const TCP_SILENCE: Duration = Duration::from_secs(15);

/// How often, and how many times, it is asked before the connection is closed.
const TCP_KEEPALIVES: (Duration, u32) = (Duration::from_secs(5), 3);

/// The settings of every connection to Redis.
fn tcp_settings() -> TcpSettings {
    let (interval, retries) = TCP_KEEPALIVES;
    let keepalive =
        TcpKeepalive::new().with_time(TCP_SILENCE).with_interval(interval).with_retries(retries);
    let settings = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive);
    #[cfg(target_os = "linux")]
    let settings = settings.set_user_timeout(TCP_SILENCE);
    settings
}

/// The connection of a process, and what its keys begin with. Cheap to clone; all clones share the
/// connection, which is made when it is first used, and again whenever it was lost.
#[derive(Clone)]
pub struct Connection(Arc<Shared>);

struct Shared {
    /// May hold a password.
    address: ConnectionInfo,
    prefix: String,
    pool: Pool,
    held: Mutex<Held>,
    /// Held while connecting, so that one does it for all who wait; when that last failed.
    connecting: tokio::sync::Mutex<Option<Instant>>,
    /// When Redis last refused a write because its memory was full.
    full: Mutex<Option<Instant>>,
}

/// How long Redis counts as full after it has refused a write.
const FULL_FOR: Duration = Duration::from_mins(1);

/// What Redis says when it may use no more memory and must not evict.
const OUT_OF_MEMORY: &str = "OOM";

/// The connection in use.
#[derive(Default)]
struct Held {
    /// The connection, and when it last answered.
    link: Option<(Link, Instant)>,
    /// How many there have been: an error says nothing about a connection that came later.
    number: u64,
}

impl Connection {
    /// For a `redis://` or `rediss://` URL; every key and channel begins with `prefix`, so that
    /// several products share a server.
    pub fn new(url: &str, prefix: &str) -> Result<Self, StoreError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_LIMIT))
            .set_response_timeout(Some(COMMAND_LIMIT));
        let address =
            url.into_connection_info().map_err(unavailable)?.set_tcp_settings(tcp_settings());
        let manager = Manager::new_with_config(address.clone(), config).map_err(unavailable)?;
        let pool = Pool::builder(manager)
            // One connection carries everything; a second one replaces it while it dies.
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
        Ok(Self(Arc::new(Shared { address, prefix, pool, held, connecting, full })))
    }

    /// What every key and channel begins with.
    pub fn prefix(&self) -> &str {
        &self.0.prefix
    }

    /// Whether Redis has lately refused a write of this process because its memory is full.
    pub fn is_full(&self) -> bool {
        let full = self.0.full.lock().unwrap_or_else(PoisonError::into_inner);
        full.is_some_and(|at| at.elapsed() < FULL_FOR)
    }

    /// Notes that a write was refused because Redis is full, and logs it when that is new.
    fn note_full(&self) {
        let mut full = self.0.full.lock().unwrap_or_else(PoisonError::into_inner);
        if full.is_none_or(|at| at.elapsed() >= FULL_FOR) {
            tracing::error!(
                "Redis is full: it refuses writes, so no session and no sign-in begins. Give it more \
                 memory; the command `store` says who holds how much"
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
        }
    }

    /// Where Redis is, with the settings of each connection to it.
    pub(super) fn address(&self) -> ConnectionInfo {
        self.0.address.clone()
    }

    /// Runs a script.
    pub async fn script<T: FromRedisValue>(
        &self,
        invocation: &ScriptInvocation<'_>,
    ) -> Result<T, StoreError> {
        let asking = async {
            let (mut link, number) = self.link().await?;
            let result = invocation.invoke_async(&mut link).await;
            self.settle(number, result)
        };
        asking.instrument(trace::redis("EVALSHA")).await
    }

    /// Sends commands in one go.
    pub async fn pipeline<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, StoreError> {
        let asking = async {
            let (mut link, number) = self.link().await?;
            let result = pipeline.query_async(&mut link).await;
            self.settle(number, result)
        };
        asking.instrument(trace::redis("PIPELINE")).await
    }

    /// The connection, and which one it is.
    async fn link(&self) -> Result<(Link, u64), StoreError> {
        if let Some(link) = self.checked().await {
            return Ok(link);
        }
        let began = Instant::now();
        let connecting = self.0.connecting.lock();
        let mut failed =
            tokio::time::timeout(COMMAND_LIMIT, connecting).await.map_err(unavailable)?;
        // Somebody else may have connected meanwhile, or tried to.
        if let Some(link) = self.current() {
            return Ok(link);
        }
        if failed.is_some_and(|it| it >= began) {
            return Err(unavailable("Redis could not be reached a moment ago"));
        }
        let connected = self.connect().await;
        if failed.is_some() && connected.is_ok() {
            tracing::info!(dependency = REDIS, "Redis answers again");
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

    /// The connection, if it is known to work: one that was idle may have been closed, or have gone
    /// silent, without this process having heard of it.
    async fn checked(&self) -> Option<(Link, u64)> {
        let (link, used_at, number) = {
            let held = self.held();
            let (link, used_at) = held.link.clone()?;
            (link, used_at, held.number)
        };
        let Link::One(mut one) = link.clone() else {
            return Some((link, number)); // connects to its servers again by itself
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

    /// Notes that a connection works.
    fn answered(&self, number: u64) {
        let mut held = self.held();
        if held.number == number
            && let Some((_, used_at)) = &mut held.link
        {
            *used_at = Instant::now();
        }
    }

    /// Closes a connection, unless another one has replaced it already.
    fn forget(&self, number: u64) {
        let mut held = self.held();
        if held.number == number {
            held.link = None;
        }
    }

    async fn connect(&self) -> Result<Link, StoreError> {
        let pooled = self.0.pool.get().await.map_err(unavailable)?;
        // For good: the pool would check a connection that died before it makes a new one.
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
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a result apart; a connection that broke is not used again.
    fn settle<T>(&self, number: u64, result: RedisResult<T>) -> Result<T, StoreError> {
        if result.is_ok() {
            self.answered(number);
        }
        result.map_err(|error| {
            trace::failed(error.code().unwrap_or("unavailable"));
            // Of a transaction it is the cause of the error and not its code.
            if error.code() == Some(OUT_OF_MEMORY) || error.to_string().contains("OOM command") {
                self.note_full();
            }
            if error.is_io_error() || error.is_connection_dropped() || error.is_timeout() {
                self.forget(number);
            }
            unavailable(error)
        })
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connection")
    }
}

/// A connection to one server, or one to each of the many of a cluster.
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
