//! Decorators of stores and rate limiters that record metrics, so that neither the implementations
//! nor their callers depend on metrics.

use std::{future::Future, sync::Arc, time::Duration};

use async_trait::async_trait;
use mcp::{
    Bus, Signal, StoreError, Stores, UserId,
    job::JobId,
    store::{
        Answered, CatalogDigest, DeletedSession, EventNumber, Mark, OpenQuestion, Orphan, Page,
        Questions, Session, SessionId, Sessions, StoredCall, StreamId, StreamKey, StreamLog,
        Subscription, Topic, Writer,
    },
};
use oauth::limits::{Bucket, Limiter, Verdict};
use platform::clock::Clock;
use tokio::time::Instant;

use super::{
    MCP_CALLS_TAKEN_OVER, MCP_CANCELLATIONS, MCP_QUESTIONS, MCP_SESSION_DURATION, MCP_SESSIONS,
    MCP_STREAM_EVENTS, RATE_LIMIT_DECISIONS, REDIS_OPERATION_DURATION,
};

/// Wraps the stores in decorators that record metrics. `clock` is used for the duration of
/// sessions. `remote`: whether each operation is a network round trip, whose duration is recorded.
pub fn stores(stores: Stores, clock: Arc<dyn Clock>, remote: bool) -> Stores {
    let sessions = Observed { inner: stores.sessions, remote };
    Stores {
        sessions: Arc::new(ObservedSessions { sessions, clock }),
        questions: Arc::new(Observed { inner: stores.questions, remote }),
        log: Arc::new(Observed { inner: stores.log, remote }),
        bus: Arc::new(Observed { inner: stores.bus, remote }),
    }
}

/// Wraps a rate limiter in a decorator that records its decisions.
pub(crate) fn limiter(inner: Arc<dyn Limiter>) -> Arc<dyn Limiter> {
    Arc::new(ObservedLimiter(inner))
}

struct Observed<T: ?Sized> {
    inner: Arc<T>,
    remote: bool,
}

impl<T: ?Sized> Observed<T> {
    /// Awaits one operation, and records its duration if the store is remote.
    async fn timed<R>(
        &self,
        operation: &'static str,
        future: impl Future<Output = Result<R, StoreError>>,
    ) -> Result<R, StoreError> {
        if !self.remote {
            return future.await;
        }
        let started = Instant::now();
        let result = future.await;
        let outcome = if result.is_ok() { "ok" } else { "error" };
        REDIS_OPERATION_DURATION.observe([operation, outcome], started.elapsed());
        result
    }
}

fn number(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

struct ObservedSessions {
    sessions: Observed<dyn Sessions>,
    clock: Arc<dyn Clock>,
}

#[async_trait]
impl Sessions for ObservedSessions {
    async fn create(
        &self,
        id: &SessionId,
        session: &Session,
    ) -> Result<Vec<SessionId>, StoreError> {
        let evicted =
            self.sessions.timed("session_create", self.sessions.inner.create(id, session)).await?;
        MCP_SESSIONS.increment(["created"]);
        for _ in &evicted {
            MCP_SESSIONS.increment(["evicted"]);
        }
        Ok(evicted)
    }

    async fn load(&self, user: &UserId, id: &SessionId) -> Result<Option<Session>, StoreError> {
        let session =
            self.sessions.timed("session_load", self.sessions.inner.load(user, id)).await?;
        if session.is_none() {
            MCP_SESSIONS.increment(["unknown"]);
        }
        Ok(session)
    }

    async fn set_log_level(&self, id: &SessionId, level: mcp::LogLevel) -> Result<(), StoreError> {
        self.sessions.timed("session_set", self.sessions.inner.set_log_level(id, level)).await
    }

    async fn set_catalog(&self, id: &SessionId, catalog: &CatalogDigest) -> Result<(), StoreError> {
        self.sessions.timed("session_set", self.sessions.inner.set_catalog(id, catalog)).await
    }

    async fn subscribe(&self, id: &SessionId, uri: &str) -> Result<bool, StoreError> {
        self.sessions.timed("session_subscribe", self.sessions.inner.subscribe(id, uri)).await
    }

    async fn unsubscribe(&self, id: &SessionId, uri: &str) -> Result<(), StoreError> {
        self.sessions.timed("session_unsubscribe", self.sessions.inner.unsubscribe(id, uri)).await
    }

    async fn delete(
        &self,
        user: &UserId,
        id: &SessionId,
    ) -> Result<Option<DeletedSession>, StoreError> {
        let deleting = self.sessions.inner.delete(user, id);
        let deleted = self.sessions.timed("session_delete", deleting).await?;
        if let Some(DeletedSession { began }) = deleted {
            MCP_SESSIONS.increment(["deleted"]);
            if let Some(began) = began {
                let lasted = self.clock.now().timestamp().saturating_sub(began);
                let lasted = u64::try_from(lasted).unwrap_or(0);
                MCP_SESSION_DURATION.observe([], Duration::from_secs(lasted));
            }
        }
        Ok(deleted)
    }
}

#[async_trait]
impl Questions for Observed<dyn Questions> {
    async fn suspend(
        &self,
        writer: &Writer,
        call: &StoredCall,
        open: &[OpenQuestion],
        ttl: Duration,
        lease: Duration,
    ) -> Result<bool, StoreError> {
        let suspending = self.inner.suspend(writer, call, open, ttl, lease);
        let suspended = self.timed("question_ask", suspending).await?;
        if suspended {
            MCP_QUESTIONS.add(["asked"], number(open.len()));
            // The questions are appended to the call's stream in the same step.
            MCP_STREAM_EVENTS.add(["appended"], number(open.len()));
        }
        Ok(suspended)
    }

    async fn answer(
        &self,
        session: &SessionId,
        question: &str,
        answer: mcp::ClientAnswer,
        lease: Duration,
    ) -> Result<Answered, StoreError> {
        let answering = self.inner.answer(session, question, answer, lease);
        let answered = self.timed("question_answer", answering).await?;
        MCP_QUESTIONS.increment([match answered {
            Answered::Unknown => "late",
            Answered::Waiting | Answered::Complete(..) => "answered",
        }]);
        Ok(answered)
    }

    async fn withdraw(
        &self,
        session: &SessionId,
        request: &mcp::RequestId,
    ) -> Result<Option<Writer>, StoreError> {
        let withdrawing = self.inner.withdraw(session, request);
        let writer = self.timed("question_withdraw", withdrawing).await?;
        if writer.is_some() {
            MCP_QUESTIONS.increment(["withdrawn"]);
        }
        Ok(writer)
    }
}

#[async_trait]
impl StreamLog for Observed<dyn StreamLog> {
    async fn open(
        &self,
        key: &StreamKey,
        requests: &[(mcp::RequestId, Option<StoredCall>)],
        lease: Duration,
    ) -> Result<(), StoreError> {
        self.timed("stream_open", self.inner.open(key, requests, lease)).await
    }

    async fn append(&self, session: &SessionId, message: &str) -> Result<(), StoreError> {
        self.timed("stream_append", self.inner.append(session, message)).await?;
        MCP_STREAM_EVENTS.increment(["appended"]);
        Ok(())
    }

    async fn write(&self, writer: &Writer, number: u64, message: &str) -> Result<bool, StoreError> {
        let writing = self.inner.write(writer, number, message);
        let written = self.timed("stream_write", writing).await?;
        if written {
            MCP_STREAM_EVENTS.increment(["appended"]);
        }
        Ok(written)
    }

    async fn finish(&self, writer: &Writer, answer: Option<&str>) -> Result<(), StoreError> {
        self.timed("stream_finish", self.inner.finish(writer, answer)).await?;
        if answer.is_some() {
            MCP_STREAM_EVENTS.increment(["appended"]);
        }
        Ok(())
    }

    async fn cancel(
        &self,
        session: &SessionId,
        request: &mcp::RequestId,
    ) -> Result<(), StoreError> {
        self.timed("stream_cancel", self.inner.cancel(session, request)).await
    }

    async fn renew(&self, writer: &Writer, lease: Duration) -> Result<bool, StoreError> {
        self.timed("stream_renew", self.inner.renew(writer, lease)).await
    }

    async fn read(
        &self,
        key: &StreamKey,
        after: EventNumber,
        max: usize,
    ) -> Result<Option<Page>, StoreError> {
        let page = self.timed("stream_read", self.inner.read(key, after, max)).await?;
        if let Some(page) = &page
            && max > 1
        // a maximum of 1 only checks whether there are events
        {
            MCP_STREAM_EVENTS.add(["sent"], number(page.events.len()));
        }
        Ok(page)
    }

    async fn take_over(&self, key: &StreamKey, lease: Duration) -> Result<Vec<Orphan>, StoreError> {
        let orphans = self.timed("stream_take_over", self.inner.take_over(key, lease)).await?;
        MCP_CALLS_TAKEN_OVER.add([], number(orphans.len()));
        Ok(orphans)
    }

    async fn hand_over(
        &self,
        writer: &Writer,
        job: &JobId,
        lease: Duration,
    ) -> Result<bool, StoreError> {
        self.timed("stream_hand_over", self.inner.hand_over(writer, job, lease)).await
    }

    async fn job_of(
        &self,
        session: &SessionId,
        request: &mcp::RequestId,
    ) -> Result<Option<(Writer, JobId)>, StoreError> {
        self.timed("stream_job_of", self.inner.job_of(session, request)).await
    }

    async fn write_for_job(
        &self,
        writer: &Writer,
        mark: Option<&Mark>,
        message: &str,
    ) -> Result<bool, StoreError> {
        let writing = self.inner.write_for_job(writer, mark, message);
        let written = self.timed("stream_write", writing).await?;
        if written {
            MCP_STREAM_EVENTS.increment(["appended"]);
        }
        Ok(written)
    }

    async fn forget(&self, session: &SessionId) -> Result<(), StoreError> {
        self.timed("stream_forget", self.inner.forget(session)).await
    }

    async fn forget_stream(&self, key: &StreamKey) -> Result<(), StoreError> {
        self.timed("stream_forget", self.inner.forget_stream(key)).await
    }

    async fn call_streams(&self, session: &SessionId) -> Result<Vec<StreamId>, StoreError> {
        self.timed("stream_list", self.inner.call_streams(session)).await
    }
}

#[async_trait]
impl Bus for Observed<dyn Bus> {
    async fn publish(&self, signal: Signal) -> Result<(), StoreError> {
        if matches!(signal, Signal::Cancelled { request: Some(_), .. }) {
            MCP_CANCELLATIONS.increment(["legacy"]);
        }
        self.timed("publish", self.inner.publish(signal)).await
    }

    async fn subscribe(&self, topic: Topic) -> Result<Subscription, StoreError> {
        self.timed("subscribe", self.inner.subscribe(topic)).await
    }

    async fn replace_catalog(
        &self,
        catalog: &CatalogDigest,
    ) -> Result<Option<CatalogDigest>, StoreError> {
        self.timed("announce", self.inner.replace_catalog(catalog)).await
    }
}

#[derive(Debug)]
struct ObservedLimiter(Arc<dyn Limiter>);

#[async_trait]
impl Limiter for ObservedLimiter {
    async fn take(&self, bucket: &Bucket, key: &str, count: u32) -> Verdict {
        let verdict = self.0.take(bucket, key, count).await;
        let decision = if verdict.is_allowed() { "allowed" } else { "refused" };
        RATE_LIMIT_DECISIONS.increment([bucket.name, decision]);
        verdict
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use mcp::LogLevel;
    use platform::clock::SystemClock;

    use super::*;

    /// Sessions that record which operations are called. No session can be loaded, and each can be
    /// deleted.
    #[derive(Default)]
    struct RecordingSessions(Mutex<Vec<&'static str>>);

    impl RecordingSessions {
        fn note(&self, operation: &'static str) {
            self.0.lock().unwrap().push(operation);
        }
    }

    #[async_trait]
    impl Sessions for RecordingSessions {
        async fn create(
            &self,
            _id: &SessionId,
            _session: &Session,
        ) -> Result<Vec<SessionId>, StoreError> {
            self.note("create");
            Ok(Vec::new())
        }

        async fn load(
            &self,
            _user: &UserId,
            _id: &SessionId,
        ) -> Result<Option<Session>, StoreError> {
            self.note("load");
            Ok(None)
        }

        async fn set_log_level(&self, _id: &SessionId, _level: LogLevel) -> Result<(), StoreError> {
            self.note("set_log_level");
            Ok(())
        }

        async fn set_catalog(
            &self,
            _id: &SessionId,
            _catalog: &CatalogDigest,
        ) -> Result<(), StoreError> {
            self.note("set_catalog");
            Ok(())
        }

        async fn subscribe(&self, _id: &SessionId, _uri: &str) -> Result<bool, StoreError> {
            self.note("subscribe");
            Ok(true)
        }

        async fn unsubscribe(&self, _id: &SessionId, _uri: &str) -> Result<(), StoreError> {
            self.note("unsubscribe");
            Ok(())
        }

        async fn delete(
            &self,
            _user: &UserId,
            _id: &SessionId,
        ) -> Result<Option<DeletedSession>, StoreError> {
            self.note("delete");
            Ok(Some(DeletedSession { began: Some(0) }))
        }
    }

    #[tokio::test]
    async fn deleting_a_session_issues_no_read() {
        let recording = Arc::new(RecordingSessions::default());
        let inner = Stores {
            sessions: Arc::clone(&recording) as Arc<dyn Sessions>,
            ..Stores::in_memory(Duration::from_mins(1))
        };
        let observed = stores(inner, Arc::new(SystemClock), true);
        let user = UserId::new("test:ada");
        observed.sessions.delete(&user, &SessionId::random()).await.unwrap();
        assert_eq!(*recording.0.lock().unwrap(), ["delete"]);
    }
}
