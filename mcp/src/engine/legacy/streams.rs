//! `GET` and `DELETE`: opening and resuming streams, and ending a session.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use http::{HeaderMap, StatusCode};

use super::{
    ActiveSession, load_session,
    quirks::StreamQuirks,
    session::{session_id, unknown_session},
    stream_reader::{READ_AHEAD, StreamReader},
};
use crate::{
    caller::{Caller, UserId},
    engine::{Inner, hashed},
    headers,
    rate_limit::RequestCost,
    reply::{About, Reply, ReplyBody},
    rpc::RpcError,
    store::{EventId, SessionId, Signal, StoreError, StreamId, StreamKey},
    version::ProtocolVersion,
};

/// The maximum number of call streams that are sent on one standalone stream.
const MAX_MOVED: usize = 64;

/// Handles `GET`: opens the standalone stream, or resumes any stream of the session.
pub(in crate::engine) async fn get(
    engine: &Arc<Inner>,
    caller: Caller,
    headers: &HeaderMap,
) -> Reply {
    let about = About { era: Some("legacy"), method: Some("GET"), ..About::default() };
    if let Some(reply) = refuse_modern(headers) {
        return reply;
    }
    if !headers::accepted(headers).events {
        let error = RpcError::invalid_request(
            "GET opens an event stream: send `Accept: text/event-stream`",
        );
        return Reply::error(StatusCode::NOT_ACCEPTABLE, None, &error).with_about(about);
    }
    let active = match load_session(engine, &caller, headers, None, RequestCost::LIGHT).await {
        Ok(active) => active,
        Err(reply) => return reply.with_about(about),
    };
    let about = About { session: Some(hashed(&active.id)), ..about };
    if engine.drain.is_cancelled() {
        return Reply::draining(None).with_about(about);
    }
    let Some(slot) = engine.listening.take(&caller.user) else {
        return Reply::too_many_streams(None).with_about(about);
    };
    let resumes = headers.contains_key(headers::LAST_EVENT_ID);
    let given = headers::get(headers, headers::LAST_EVENT_ID);
    let mut last = match resumes.then(|| given.and_then(EventId::parse)) {
        // From the current end of the stream: set below.
        None => EventId { stream: StreamId::standalone(), number: 0 },
        Some(Some(id)) => id,
        Some(None) => {
            let error =
                RpcError::invalid_request("`Last-Event-ID` is not an event id of this server");
            return Reply::bad_request(None, &error).with_about(about);
        }
    };
    let key = StreamKey { session: active.id.clone(), stream: last.stream.clone() };
    // A stream of which an event is lost has ended: as many are read as by the reader, so that the client
    // is told here.
    let read_ahead = if resumes { READ_AHEAD } else { 1 };
    match engine.stores.log.read(&key, last.number, read_ahead).await {
        Ok(Some(page)) if !resumes => last.number = page.last,
        Ok(Some(_)) => {}
        Ok(None) => {
            let error = RpcError::invalid_request(
                "the stream of this `Last-Event-ID` has expired; call again",
            );
            return Reply::bad_request(None, &error).with_about(about);
        }
        Err(error) => return Reply::store_unavailable(None, &error).with_about(about),
    }
    let moves_calls =
        resumes && key.stream.is_standalone() && !StreamQuirks::of(&active.session).resumes_calls;
    let opening = async {
        let session = &active.session;
        let mut reader = StreamReader::start(engine, key, session, &caller, last.number).await?;
        reader.take_over(resumes, session).await;
        let mut body = reader.into_body();
        if moves_calls {
            let calls = moved_calls(engine, &active, &caller).await?;
            body = with_calls(body, calls);
        }
        Ok(body)
    };
    match opening.await {
        Ok(body) => {
            Reply::new(StatusCode::OK, ReplyBody::Events(body)).holding(slot).with_about(about)
        }
        Err(error) => Reply::store_unavailable(None, &error).with_about(about),
    }
}

/// Opens readers of the remaining events of the session's call streams, for a client that does not
/// resume these streams.
async fn moved_calls(
    engine: &Arc<Inner>,
    active: &ActiveSession,
    caller: &Caller,
) -> Result<Vec<BoxStream<'static, Bytes>>, StoreError> {
    let log = &engine.stores.log;
    let mut bodies = Vec::new();
    for stream in log.call_streams(&active.id).await?.into_iter().take(MAX_MOVED) {
        let key = StreamKey { session: active.id.clone(), stream };
        let Some(page) = log.read(&key, 0, 1).await? else {
            continue;
        };
        let reader = StreamReader::start(engine, key, &active.session, caller, 0).await?;
        bodies.push(reader.move_to_standalone(page.last, &active.session).await.into_body());
    }
    Ok(bodies)
}

/// Merges a standalone stream with call streams. The result ends with the standalone stream.
fn with_calls(
    standalone: BoxStream<'static, Bytes>,
    calls: Vec<BoxStream<'static, Bytes>>,
) -> BoxStream<'static, Bytes> {
    let standalone = standalone.map(Some).chain(stream::iter([None]));
    let calls = stream::select_all(calls).map(Some);
    let merged = stream::select(standalone, calls);
    merged
        .take_while(|chunk| std::future::ready(chunk.is_some()))
        .filter_map(std::future::ready)
        .boxed()
}

/// Handles `DELETE`: ends the session, its streams and its calls on all instances.
pub(in crate::engine) async fn delete(
    engine: &Arc<Inner>,
    caller: &Caller,
    headers: &HeaderMap,
) -> Reply {
    let about = About { era: Some("legacy"), method: Some("DELETE"), ..About::default() };
    if let Some(reply) = refuse_modern(headers) {
        return reply;
    }
    let session = match session_id(headers, None) {
        Ok(session) => session,
        Err(reply) => return reply.with_about(about),
    };
    // Before the session is deleted: a refused request must have no effect.
    if let Err(exhausted) = engine.check_rate(caller, RequestCost::LIGHT).await {
        return Reply::too_many(None, exhausted).with_about(about);
    }
    // The session is not loaded first: that would restart its idle timeout.
    let deleted = match engine.stores.sessions.delete(&caller.user, &session).await {
        Ok(Some(deleted)) => deleted,
        Ok(None) => return unknown_session(None).with_about(about),
        Err(error) => return Reply::store_unavailable(None, &error).with_about(about),
    };
    tracing::debug!(target: crate::COUNTED, sessions_deleted = 1_u64, "Deleted a session");
    if let Some(began) = deleted.began {
        let session_seconds = u64::try_from(engine.now().saturating_sub(began)).unwrap_or(0);
        tracing::debug!(target: crate::COUNTED, session_seconds, "Lifetime of a deleted session");
    }
    let about = About { session: Some(hashed(&session)), ..about };
    close(engine, session).await;
    Reply::new(StatusCode::NO_CONTENT, ReplyBody::Empty).with_about(about)
}

/// Ends a session, its streams and its calls on all instances.
pub(super) async fn end(
    engine: &Inner,
    user: &UserId,
    session: SessionId,
) -> Result<(), StoreError> {
    engine.stores.sessions.delete(user, &session).await?;
    close(engine, session).await;
    Ok(())
}

/// Ends the streams and calls of a deleted session on all instances.
async fn close(engine: &Inner, session: SessionId) {
    engine.publish(Signal::Cancelled { session: session.clone(), request: None }).await;
    engine.publish(Signal::SessionEnded(session.clone())).await;
    if let Err(error) = engine.stores.log.forget(&session).await {
        // The streams are not accessible any more, and expire.
        tracing::warn!(
            dependency = error.dependency(), %error,
            "Could not delete the streams of an ended session; they expire"
        );
    }
}

/// 405: 2026-07-28 has neither `GET` nor `DELETE`. `None`: the request is not modern.
fn refuse_modern(headers: &HeaderMap) -> Option<Reply> {
    let version = headers::get(headers, headers::PROTOCOL_VERSION)?;
    if !ProtocolVersion::names_modern(version) {
        return None;
    }
    let error = RpcError::invalid_request(format!(
        "protocol version {version} has no GET and no DELETE; use POST"
    ));
    let about = About { era: Some("modern"), ..About::default() };
    Some(Reply::error(StatusCode::METHOD_NOT_ALLOWED, None, &error).with_about(about))
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeSet,
        sync::{Mutex, PoisonError},
        time::Duration,
    };

    use async_trait::async_trait;

    use super::*;
    use crate::{
        Catalog, Engine, Implementation, LogLevel, SealKey, ServerInfo, Settings, Stores,
        store::{CatalogDigest, DeletedSession, Session, Sessions},
    };

    /// A store that records its operations, and in which every session exists.
    #[derive(Default)]
    struct RecordingSessions(Mutex<Vec<&'static str>>);

    impl RecordingSessions {
        fn record(&self, operation: &'static str) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(operation);
        }
    }

    #[async_trait]
    impl Sessions for RecordingSessions {
        async fn create(&self, _: &SessionId, _: &Session) -> Result<Vec<SessionId>, StoreError> {
            self.record("create");
            Ok(Vec::new())
        }

        async fn load(&self, _: &UserId, _: &SessionId) -> Result<Option<Session>, StoreError> {
            self.record("load");
            Ok(None)
        }

        async fn set_log_level(&self, _: &SessionId, _: LogLevel) -> Result<(), StoreError> {
            self.record("set_log_level");
            Ok(())
        }

        async fn set_catalog(&self, _: &SessionId, _: &CatalogDigest) -> Result<(), StoreError> {
            self.record("set_catalog");
            Ok(())
        }

        async fn subscribe(&self, _: &SessionId, _: &str) -> Result<bool, StoreError> {
            self.record("subscribe");
            Ok(true)
        }

        async fn unsubscribe(&self, _: &SessionId, _: &str) -> Result<(), StoreError> {
            self.record("unsubscribe");
            Ok(())
        }

        async fn delete(
            &self,
            _: &UserId,
            _: &SessionId,
        ) -> Result<Option<DeletedSession>, StoreError> {
            self.record("delete");
            Ok(Some(DeletedSession { began: Some(0) }))
        }
    }

    #[tokio::test]
    async fn deleting_a_session_neither_loads_nor_changes_it() {
        let sessions = Arc::new(RecordingSessions::default());
        let stores = Stores {
            sessions: Arc::clone(&sessions) as Arc<dyn Sessions>,
            ..Stores::in_memory(Duration::from_mins(1))
        };
        let implementation = Implementation {
            name: "test".to_owned(),
            title: None,
            version: "1".to_owned(),
            description: None,
            website_url: None,
            icons: Vec::new(),
        };
        let catalog = Catalog::new(ServerInfo { implementation, instructions: None });
        let settings = Settings {
            seal_keys: vec![SealKey::new([7; 32])],
            now: Arc::new(|| 60),
            page_size: Settings::PAGE_SIZE,
            jobs: None,
            rate_limiter: None,
            access: None,
        };
        let engine = Engine::new(catalog, stores, settings);
        let caller = Caller {
            user: UserId::new("test:ada"),
            client: "test".into(),
            scopes: BTreeSet::new(),
            grant: "grant".into(),
            key: "key".into(),
            issued_at: 0,
            expires_at: 3_600,
            request: None,
        };
        let mut headers = HeaderMap::new();
        let session = SessionId::random();
        headers.insert(headers::SESSION_ID, session.as_str().parse().unwrap());

        let reply = engine.delete(caller, &headers).await;
        assert_eq!(reply.status, StatusCode::NO_CONTENT);
        assert_eq!(*sessions.0.lock().unwrap(), ["delete"]);
    }
}
