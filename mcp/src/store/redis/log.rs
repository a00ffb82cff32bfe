//! Stream logs: a Redis stream for the events and a hash for what is still to come.
//!
//! The Redis stream is made with the first event, because even an almost empty one costs 4 kB.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use redis::streams::StreamRangeReply;

use super::{FORMAT, Redis, away, bus, millis};
use crate::{
    rpc::RequestId,
    store::{
        EventNumber, MAX_EVENTS, Page, STREAM_TTL, SessionId, Signal, StoreError, StreamKey,
        StreamLog,
    },
};

/// The number of the last event.
const LAST: &str = "last";
/// How many requests are unanswered.
const OPEN: &str = "open";
/// When the writer counts as dead, in ms since the Unix epoch by the server's clock.
const LEASE: &str = "lease";
/// One field per unanswered request begins so.
const PENDING: &str = "pending:";

fn pending(request: &RequestId) -> String {
    format!("{PENDING}{}", serde_json::to_string(request).unwrap_or_default())
}

/// What [`StreamLog::read`] asks for at once.
type Read = (StreamRangeReply, (Option<u64>, Option<i64>, Option<u64>), (u64, u64));

impl Redis {
    fn log_key(&self, key: &StreamKey) -> String {
        self.key(&key.session, &format!("log:{}", key.stream.as_str()))
    }

    fn meta_key(&self, key: &StreamKey) -> String {
        self.key(&key.session, &format!("meta:{}", key.stream.as_str()))
    }

    /// Channel and text of the signal that a stream has changed.
    fn wake(&self, key: &StreamKey) -> Result<(String, String), StoreError> {
        let signal = Signal::StreamChanged(key.clone());
        Ok((bus::channel(&self.prefix, &signal.topic()), bus::encode(&signal)?))
    }
}

fn stored(message: &str) -> String {
    format!("{FORMAT}{message}")
}

#[async_trait]
impl StreamLog for Redis {
    async fn open(
        &self,
        key: &StreamKey,
        requests: &[RequestId],
        lease: Duration,
    ) -> Result<(), StoreError> {
        let meta = self.meta_key(key);
        let streams = self.key(&key.session, "streams");
        let ttl = millis(STREAM_TTL);
        let mut pipeline = redis::pipe();
        pipeline.atomic().hset(&meta, OPEN, requests.len()).ignore();
        for request in requests {
            pipeline.hset(&meta, pending(request), "").ignore();
        }
        pipeline.cmd("PEXPIRE").arg(&meta).arg(ttl).ignore();
        pipeline.sadd(&streams, key.stream.as_str()).ignore();
        pipeline.cmd("PEXPIRE").arg(&streams).arg(ttl).ignore();
        let () = self.pipeline(&pipeline).await?;
        self.renew(key, lease).await
    }

    async fn append(&self, key: &StreamKey, message: &str) -> Result<(), StoreError> {
        let (channel, signal) = self.wake(key)?;
        let mut append = self.scripts.stream_append.prepare_invoke();
        append
            .key(self.log_key(key))
            .key(self.meta_key(key))
            .key(self.key(&key.session, "streams"))
            .arg(stored(message))
            .arg(MAX_EVENTS)
            .arg(millis(STREAM_TTL))
            .arg(u8::from(key.stream.is_standalone()))
            .arg(key.stream.as_str())
            .arg(channel)
            .arg(signal);
        self.script(&append).await
    }

    async fn finish(
        &self,
        key: &StreamKey,
        request: &RequestId,
        answer: Option<&str>,
    ) -> Result<(), StoreError> {
        let (channel, signal) = self.wake(key)?;
        let mut finish = self.scripts.stream_finish.prepare_invoke();
        finish
            .key(self.log_key(key))
            .key(self.meta_key(key))
            .arg(pending(request))
            .arg(answer.map(stored).unwrap_or_default())
            .arg(MAX_EVENTS)
            .arg(millis(STREAM_TTL))
            .arg(channel)
            .arg(signal);
        self.script(&finish).await
    }

    async fn renew(&self, key: &StreamKey, lease: Duration) -> Result<(), StoreError> {
        let mut renew = self.scripts.stream_renew.prepare_invoke();
        renew
            .key(self.meta_key(key))
            .key(self.log_key(key))
            .arg(millis(lease))
            .arg(millis(STREAM_TTL));
        self.script(&renew).await
    }

    async fn read(
        &self,
        key: &StreamKey,
        after: EventNumber,
        max: usize,
    ) -> Result<Option<Page>, StoreError> {
        let log = self.log_key(key);
        let mut pipeline = redis::pipe();
        pipeline.cmd("XRANGE").arg(&log).arg(format!("({after}-0")).arg("+").arg("COUNT").arg(max);
        pipeline.cmd("HMGET").arg(self.meta_key(key)).arg(LAST).arg(OPEN).arg(LEASE);
        pipeline.cmd("TIME");
        let (events, (last, open, lease), (seconds, micros)): Read =
            self.pipeline(&pipeline).await?;
        let standalone = key.stream.is_standalone();
        if open.is_none() && !standalone {
            return Ok(None);
        }
        let mut page = Page::default();
        for event in events.ids {
            let number = event.id.split('-').next().and_then(|it| it.parse().ok());
            let message: Option<String> = event.get("m");
            let message = message.as_deref().and_then(|it| it.strip_prefix(FORMAT));
            let (Some(number), Some(message)) = (number, message) else {
                return Err(away("an event has a format that this version cannot read"));
            };
            page.events.push((number, Arc::from(message)));
        }
        let complete = page.events.last().map_or(after, |it| it.0) >= last.unwrap_or(0);
        let waits = standalone || open.is_some_and(|it| it > 0);
        let now = seconds * 1_000 + micros / 1_000;
        page.ended = complete && !waits;
        page.orphaned = !standalone && waits && lease.is_none_or(|it| now >= it);
        Ok(Some(page))
    }

    async fn abandon(
        &self,
        key: &StreamKey,
        write: &(dyn for<'a> Fn(&'a RequestId) -> String + Send + Sync),
    ) -> Result<(), StoreError> {
        let mut fields = redis::pipe();
        fields.hkeys(self.meta_key(key));
        let (fields,): (Vec<String>,) = self.pipeline(&fields).await?;
        let (channel, signal) = self.wake(key)?;
        let mut abandon = self.scripts.stream_abandon.prepare_invoke();
        abandon
            .key(self.log_key(key))
            .key(self.meta_key(key))
            .arg(MAX_EVENTS)
            .arg(millis(STREAM_TTL))
            .arg(channel)
            .arg(signal);
        for field in fields {
            let Some(request) = field.strip_prefix(PENDING) else {
                continue;
            };
            let request: RequestId = serde_json::from_str(request).map_err(away)?;
            abandon.arg(&field).arg(stored(&write(&request)));
        }
        self.script(&abandon).await
    }

    async fn forget(&self, session: &SessionId) -> Result<(), StoreError> {
        let mut forget = self.scripts.stream_forget.prepare_invoke();
        forget
            .key(self.key(session, "streams"))
            .arg(self.key(session, "log:"))
            .arg(self.key(session, "meta:"));
        self.script(&forget).await
    }
}
