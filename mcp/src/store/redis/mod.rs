//! The stores of many instances: Redis 7 or Valkey 8, alone or as a cluster.
//!
//! Commands of a process share one multiplexed [`Connection`]; its pub/sub has another ([`bus`]). What
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
//! | `sessions:<user>` | sorted set | the user's sessions by their last use | a session's, sliding |
//! | `mcp:{sid}:streams` | set | the streams of the session | the same |
//! | `catalog` | string | what the newest instance offers, as a digest | 30 days |
//! | `mcp:{sid}`, `user:<user>`, `everyone`, `control` | channel | [`super::Signal`]s | – |
//!
//! A value begins with a format byte, and a hash has it in one of its fields, so that the instances of
//! a rolling deploy tell what they cannot read from what is broken.

mod bus;
mod connection;
mod log;
mod questions;
mod sessions;
mod value;

use std::{sync::Arc, time::Duration};

use redis::{FromRedisValue, Pipeline, RedisError, Script, ScriptInvocation};

pub use self::connection::Connection;
use self::value::unavailable;
use super::{SessionId, StoreError, Stores};

impl Stores {
    /// Stores in Redis, over the one connection of this process. `session_ttl`: how long an idle
    /// session is kept. Must be called within a tokio runtime.
    pub fn in_redis(connection: &Connection, session_ttl: Duration) -> Result<Self, StoreError> {
        let connection = connection.clone();
        let redis = Arc::new(Redis { connection, session_ttl, scripts: Scripts::new() });
        let bus = bus::RedisBus::start(redis.connection.clone())?;
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
    connection: Connection,
    session_ttl: Duration,
    scripts: Scripts,
}

struct Scripts {
    session_set: Script,
    session_subscribe: Script,
    session_delete: Script,
    session_count: Script,
    session_touch: Script,
    question_suspend: Script,
    question_answer: Script,
    question_withdraw: Script,
    stream_open: Script,
    stream_append: Script,
    stream_write: Script,
    stream_finish: Script,
    stream_cancel: Script,
    stream_renew: Script,
    stream_take_over: Script,
    stream_hand_over: Script,
    stream_write_for_job: Script,
    stream_forget: Script,
}

impl Scripts {
    fn new() -> Self {
        let script = |text: &str| Script::new(text);
        let appends = |text: &str| {
            let push = include_str!("stream_push.lua");
            Script::new(&format!("{push}{text}"))
        };
        Self {
            session_set: script(include_str!("session_set.lua")),
            session_subscribe: script(include_str!("session_subscribe.lua")),
            session_delete: script(include_str!("session_delete.lua")),
            session_count: script(include_str!("session_count.lua")),
            session_touch: script(include_str!("session_touch.lua")),
            question_suspend: appends(include_str!("question_suspend.lua")),
            question_answer: script(include_str!("question_answer.lua")),
            question_withdraw: script(include_str!("question_withdraw.lua")),
            stream_open: script(include_str!("stream_open.lua")),
            stream_append: appends(include_str!("stream_append.lua")),
            stream_write: appends(include_str!("stream_write.lua")),
            stream_finish: appends(include_str!("stream_finish.lua")),
            stream_cancel: script(include_str!("stream_cancel.lua")),
            stream_renew: script(include_str!("stream_renew.lua")),
            stream_take_over: script(include_str!("stream_take_over.lua")),
            stream_hand_over: script(include_str!("stream_hand_over.lua")),
            stream_write_for_job: appends(include_str!("stream_write_for_job.lua")),
            stream_forget: script(include_str!("stream_forget.lua")),
        }
    }
}

impl Redis {
    /// The key of something that belongs to a session.
    fn key(&self, session: &SessionId, rest: &str) -> String {
        format!("{}mcp:{{{}}}:{rest}", self.connection.prefix(), session.as_str())
    }

    async fn script<T: FromRedisValue>(
        &self,
        invocation: &ScriptInvocation<'_>,
    ) -> Result<T, StoreError> {
        self.connection.script(invocation).await
    }

    async fn pipeline<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, StoreError> {
        self.connection.pipeline(pipeline).await
    }
}

impl From<RedisError> for StoreError {
    fn from(error: RedisError) -> Self {
        unavailable(error)
    }
}
