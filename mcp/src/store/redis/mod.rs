//! The stores of many instances: Redis 7 or Valkey 8, alone or as a cluster.
//!
//! Commands of a process share one multiplexed connection; its pub/sub has another ([`bus`]). What
//! belongs together is one script or one pipeline, so a call costs one round trip before its tool
//! runs. Every key has a lifetime, and every key of a session the same hash tag `{session}`, so that
//! a cluster keeps them together:
//!
//! | key | type | holds | lifetime |
//! |---|---|---|---|
//! | `mcp:{sid}:session` | hash | [`super::Session`] | the session's, sliding |
//! | `mcp:{sid}:call:<id>` | hash | a call that waits for the client | of its questions |
//! | `mcp:{sid}:ask:<question>` | string | which call and which of its questions | of its questions |
//! | `mcp:{sid}:waiting` | hash | waiting calls by the client's id | of its questions |
//! | `mcp:{sid}:log:<stream>` | stream | the events of one stream | [`super::STREAM_TTL`] after the last |
//! | `mcp:{sid}:meta:<stream>` | hash | its length, and run and lease of each open request | the same |
//! | `mcp:{sid}:running:<stream>:<id>` | hash | a call that may be run again if its instance dies | the same |
//! | `mcp:{sid}:jobs` | hash | which job answers which request | [`super::STREAM_TTL`] after its lease |
//! | `mcp:{sid}:streams` | set | the streams of the session | the same |
//! | `mcp:{sid}`, `user:<user>`, `everyone`, `control` | channel | [`super::Signal`]s | – |
//!
//! Values begin with a format byte, so that the instances of a rolling deploy tell what they cannot
//! read from what is broken.

mod bus;
mod log;
mod questions;
mod sessions;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use deadpool_redis::{Manager, Pool, Runtime};
use redis::{
    AsyncConnectionConfig, FromRedisValue, Pipeline, RedisError, RedisResult, Script,
    ScriptInvocation, aio::MultiplexedConnection,
};
use serde::{Serialize, de::DeserializeOwned};

use super::{SessionId, StoreError, Stores};

/// How long a command may take. Redis answers within a millisecond or is in trouble.
const COMMAND_LIMIT: Duration = Duration::from_secs(2);

/// How long connecting may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(1);

/// Marks the format of every value. Readers of the next format will know this one too.
const FORMAT: char = '1';

/// How the stores reach Redis.
#[derive(Clone)]
pub struct Settings {
    /// A `redis://` or `rediss://` URL. Holds a password: has no `Debug`.
    pub url: String,
    /// What every key and channel begins with, so that several products share a server.
    pub prefix: String,
    /// How long an idle session is kept.
    pub session_ttl: Duration,
}

impl Stores {
    /// Stores in Redis. Connects when first used, and again whenever the connection is lost; must
    /// be called within a tokio runtime.
    pub fn in_redis(settings: &Settings) -> Result<Self, StoreError> {
        let redis = Arc::new(Redis::new(settings)?);
        let bus = bus::RedisBus::start(settings, &redis)?;
        Ok(Self {
            sessions: redis.clone(),
            questions: redis.clone(),
            log: redis,
            bus: Arc::new(bus),
        })
    }
}

/// The shared connection and the names of the keys.
struct Redis {
    pool: Pool,
    shared: Mutex<Option<MultiplexedConnection>>,
    prefix: String,
    session_ttl: Duration,
    scripts: Scripts,
}

struct Scripts {
    session_set: Script,
    session_subscribe: Script,
    session_delete: Script,
    question_suspend: Script,
    question_answer: Script,
    question_withdraw: Script,
    stream_open: Script,
    stream_append: Script,
    stream_write: Script,
    stream_finish: Script,
    stream_renew: Script,
    stream_take_over: Script,
    stream_hand_over: Script,
    stream_write_for_job: Script,
    stream_forget: Script,
}

impl Scripts {
    fn new() -> Self {
        let script = |text: &str| Script::new(text);
        Self {
            session_set: script(include_str!("session_set.lua")),
            session_subscribe: script(include_str!("session_subscribe.lua")),
            session_delete: script(include_str!("session_delete.lua")),
            question_suspend: script(include_str!("question_suspend.lua")),
            question_answer: script(include_str!("question_answer.lua")),
            question_withdraw: script(include_str!("question_withdraw.lua")),
            stream_open: script(include_str!("stream_open.lua")),
            stream_append: script(include_str!("stream_append.lua")),
            stream_write: script(include_str!("stream_write.lua")),
            stream_finish: script(include_str!("stream_finish.lua")),
            stream_renew: script(include_str!("stream_renew.lua")),
            stream_take_over: script(include_str!("stream_take_over.lua")),
            stream_hand_over: script(include_str!("stream_hand_over.lua")),
            stream_write_for_job: script(include_str!("stream_write_for_job.lua")),
            stream_forget: script(include_str!("stream_forget.lua")),
        }
    }
}

impl Redis {
    fn new(settings: &Settings) -> Result<Self, StoreError> {
        let connection = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_LIMIT))
            .set_response_timeout(Some(COMMAND_LIMIT));
        let manager = Manager::new_with_config(settings.url.as_str(), connection).map_err(away)?;
        let pool = Pool::builder(manager)
            // One connection carries everything; a second one replaces it while it dies.
            .max_size(2)
            .create_timeout(Some(CONNECT_LIMIT))
            .wait_timeout(Some(COMMAND_LIMIT))
            .recycle_timeout(Some(COMMAND_LIMIT))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(away)?;
        Ok(Self {
            pool,
            shared: Mutex::default(),
            prefix: settings.prefix.clone(),
            session_ttl: settings.session_ttl,
            scripts: Scripts::new(),
        })
    }

    /// The key of something that belongs to a session.
    fn key(&self, session: &SessionId, rest: &str) -> String {
        format!("{}mcp:{{{}}}:{rest}", self.prefix, session.as_str())
    }

    async fn connection(&self) -> Result<MultiplexedConnection, StoreError> {
        if let Some(shared) = self.shared().as_ref() {
            return Ok(shared.clone());
        }
        let pooled = self.pool.get().await.map_err(away)?;
        let connection = MultiplexedConnection::clone(&pooled);
        *self.shared() = Some(connection.clone());
        Ok(connection)
    }

    fn shared(&self) -> std::sync::MutexGuard<'_, Option<MultiplexedConnection>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a result apart; a connection that broke is not used again.
    fn settle<T>(&self, result: RedisResult<T>) -> Result<T, StoreError> {
        result.map_err(|error| {
            if error.is_io_error() || error.is_connection_dropped() || error.is_timeout() {
                *self.shared() = None;
            }
            away(error)
        })
    }

    async fn script<T: FromRedisValue>(
        &self,
        invocation: &ScriptInvocation<'_>,
    ) -> Result<T, StoreError> {
        let mut connection = self.connection().await?;
        let result = invocation.invoke_async(&mut connection).await;
        self.settle(result)
    }

    async fn pipeline<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, StoreError> {
        let mut connection = self.connection().await?;
        let result = pipeline.query_async(&mut connection).await;
        self.settle(result)
    }
}

fn away(error: impl Into<crate::error::BoxError>) -> StoreError {
    StoreError(error.into())
}

/// A value as it is stored.
fn write(value: &impl Serialize) -> Result<String, StoreError> {
    let json = serde_json::to_string(value).map_err(away)?;
    Ok(format!("{FORMAT}{json}"))
}

/// A stored value.
fn read<T: DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    let json = text
        .strip_prefix(FORMAT)
        .ok_or_else(|| away("the value has a format that this version cannot read"))?;
    serde_json::from_str(json).map_err(away)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl From<RedisError> for StoreError {
    fn from(error: RedisError) -> Self {
        away(error)
    }
}
