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
    AsyncConnectionConfig, Cmd, FromRedisValue, Pipeline, RedisFuture, RedisResult,
    ScriptInvocation, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
};
use tokio::time::Instant;
use tracing::Instrument as _;

use super::away;
use crate::{store::StoreError, trace};

/// How long a command may take. Redis answers within a millisecond or is in trouble.
pub(super) const COMMAND_LIMIT: Duration = Duration::from_secs(2);

/// How long connecting may take.
pub(super) const CONNECT_LIMIT: Duration = Duration::from_secs(1);

/// The connection of a process, and what its keys begin with. Cheap to clone; all clones share the
/// connection, which is made when it is first used, and again whenever it was lost.
#[derive(Clone)]
pub struct Connection(Arc<Shared>);

struct Shared {
    /// May hold a password.
    url: String,
    prefix: String,
    pool: Pool,
    held: Mutex<Held>,
    /// Held while connecting, so that one does it for all who wait; when that last failed.
    connecting: tokio::sync::Mutex<Option<Instant>>,
}

/// The connection in use.
#[derive(Default)]
struct Held {
    link: Option<Link>,
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
        let pool = Pool::builder(Manager::new_with_config(url, config).map_err(away)?)
            // One connection carries everything; a second one replaces it while it dies.
            .max_size(2)
            .create_timeout(Some(CONNECT_LIMIT))
            .wait_timeout(Some(COMMAND_LIMIT))
            .recycle_timeout(Some(COMMAND_LIMIT))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(away)?;
        let (url, prefix) = (url.to_owned(), prefix.to_owned());
        let (held, connecting) = (Mutex::default(), tokio::sync::Mutex::default());
        Ok(Self(Arc::new(Shared { url, prefix, pool, held, connecting })))
    }

    /// What every key and channel begins with.
    pub fn prefix(&self) -> &str {
        &self.0.prefix
    }

    pub(super) fn url(&self) -> &str {
        &self.0.url
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
        if let Some(link) = self.current() {
            return Ok(link);
        }
        let began = Instant::now();
        let connecting = self.0.connecting.lock();
        let mut failed = tokio::time::timeout(COMMAND_LIMIT, connecting).await.map_err(away)?;
        // Somebody else may have connected meanwhile, or tried to.
        if let Some(link) = self.current() {
            return Ok(link);
        }
        if failed.is_some_and(|it| it >= began) {
            return Err(away("Redis could not be reached a moment ago"));
        }
        let connected = self.connect().await;
        *failed = connected.is_err().then(Instant::now);
        let link = connected?;
        let mut held = self.held();
        held.number += 1;
        held.link = Some(link.clone());
        Ok((link, held.number))
    }

    fn current(&self) -> Option<(Link, u64)> {
        let held = self.held();
        held.link.clone().map(|link| (link, held.number))
    }

    async fn connect(&self) -> Result<Link, StoreError> {
        let pooled = self.0.pool.get().await.map_err(away)?;
        let mut one = MultiplexedConnection::clone(&pooled);
        let info: String = redis::cmd("INFO").arg("cluster").query_async(&mut one).await?;
        if !info.contains("cluster_enabled:1") {
            return Ok(Link::One(one));
        }
        let client = ClusterClient::builder([self.url()])
            .connection_timeout(CONNECT_LIMIT)
            .response_timeout(COMMAND_LIMIT)
            .build()?;
        let connecting = client.get_async_connection();
        let many = tokio::time::timeout(COMMAND_LIMIT, connecting).await.map_err(away)??;
        Ok(Link::Many(many))
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a result apart; a connection that broke is not used again.
    fn settle<T>(&self, number: u64, result: RedisResult<T>) -> Result<T, StoreError> {
        result.map_err(|error| {
            trace::failed(error.code().unwrap_or("unavailable"));
            if error.is_io_error() || error.is_connection_dropped() || error.is_timeout() {
                let mut held = self.held();
                if held.number == number {
                    held.link = None;
                }
            }
            away(error)
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
