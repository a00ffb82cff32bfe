//! The stores in Redis 7 or Valkey 8, for many instances; a single server or a cluster.
//!
//! The commands of a process share one multiplexed [`Connection`]; pub/sub uses a second one
//! ([`bus`]). Related commands form one script or one pipeline, so a call costs one round trip
//! before its tool runs. Every key has a TTL. All keys of a session have the same hash tag `{sid}`,
//! so that a cluster stores them on one node:
//!
//! | key | type | contents | TTL |
//! |---|---|---|---|
//! | `mcp:{sid}:session` | hash | [`super::Session`] | session TTL, sliding |
//! | `mcp:{sid}:call:<id>` | hash | a call that waits for answers | of its questions |
//! | `mcp:{sid}:ask:<question>` | string | call and tool's key of a question | of its questions |
//! | `mcp:{sid}:waiting` | hash | waiting calls by JSON-RPC id | of its questions |
//! | `mcp:{sid}:log:<stream>` | stream | its events | [`super::STREAM_TTL`] after the last |
//! | `mcp:{sid}:meta:<stream>` | hash | last number; run and lease of open requests | same |
//! | `mcp:{sid}:running:<stream>:<id>` | hash | a call that may be run again | same |
//! | `mcp:{sid}:jobs` | hash | job by request | [`super::STREAM_TTL`] after its lease |
//! | `sessions:<user>` | sorted set | the user's sessions by last use | session TTL, sliding |
//! | `mcp:{sid}:streams` | set | the streams of the session | as the streams |
//! | `catalog` | string | digest of the newest instance's lists | 30 days |
//! | `mcp:{sid}`, `user:<user>`, `job:<job>` | channel | [`super::Signal`]s | – |
//! | `everyone`, `control`, `work` | channel | [`super::Signal`]s | – |
//! | `worker:<name>` | channel | no messages: the worker subscribes, which shows that its process exists | – |
//!
//! Every value begins with a format character, and every hash has it in one of its fields, so that
//! during a rolling deploy an instance can distinguish a newer format from a corrupt value. Values
//! with users' content are encrypted with [`ContentKeys`].

mod bus;
mod call_hash;
mod connection;
mod log;
mod questions;
mod sealed;
mod sessions;
mod value;

use std::{sync::Arc, time::Duration};

use redis::{FromRedisValue, Pipeline, RedisError, Script, ScriptInvocation};

pub use self::connection::{Connection, RoundTrip};
use self::{sealed::Content, value::unavailable};
use super::{SessionId, StoreError, Stores};
use crate::content_keys::ContentKeys;

impl Stores {
    /// Creates stores in Redis that share the process's connection. `session_ttl`: how long an idle
    /// session is kept. `keys`: encrypt users' content. Must be called within a tokio runtime.
    pub fn in_redis(
        connection: &Connection,
        session_ttl: Duration,
        keys: ContentKeys,
    ) -> Result<Self, StoreError> {
        let (connection, content) = (connection.clone(), Content::new(keys));
        let bus = bus::RedisBus::start(connection.clone(), content.clone())?;
        let redis = Arc::new(Redis { connection, session_ttl, content, scripts: Scripts::new() });
        Ok(Self {
            sessions: redis.clone(),
            questions: redis.clone(),
            log: redis,
            bus: Arc::new(bus),
        })
    }
}

/// The implementation of all stores except the bus.
struct Redis {
    connection: Connection,
    session_ttl: Duration,
    content: Content,
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
    /// The key `name` of a session.
    fn key(&self, session: &SessionId, name: &str) -> String {
        self.key_of(session, name, "")
    }

    /// The key `kind` and `name` of a session, for example `log:` and a stream.
    fn key_of(&self, session: &SessionId, kind: &str, name: &str) -> String {
        [self.connection.prefix(), "mcp:{", session.as_str(), "}:", kind, name].concat()
    }

    async fn script<T: FromRedisValue>(
        &self,
        operation: &'static str,
        invocation: &ScriptInvocation<'_>,
    ) -> Result<T, StoreError> {
        self.connection.script(operation, invocation).await
    }

    async fn pipeline<T: FromRedisValue>(
        &self,
        operation: &'static str,
        pipeline: &Pipeline,
    ) -> Result<T, StoreError> {
        self.connection.pipeline(operation, pipeline).await
    }
}

impl From<RedisError> for StoreError {
    fn from(error: RedisError) -> Self {
        unavailable(error)
    }
}
