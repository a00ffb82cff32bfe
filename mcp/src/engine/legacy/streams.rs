//! GET and DELETE: the streams of a session, and its end.

use std::sync::Arc;

use http::{HeaderMap, StatusCode};

use super::enter;
use crate::{
    admission::Requests,
    caller::Caller,
    engine::{Inner, follow::Follower, hashed},
    headers,
    reply::{About, Reply, ReplyBody},
    rpc::RpcError,
    store::{EventId, Signal, StreamId, StreamKey},
    version::ProtocolVersion,
};

/// `GET`: opens the standalone stream, or resumes any stream of the session.
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
        let error = RpcError::invalid_request("GET opens a stream: accept `text/event-stream`");
        return Reply::error(StatusCode::NOT_ACCEPTABLE, None, &error).with_about(about);
    }
    let entered = match enter(engine, &caller, headers, None, Requests::LIGHT).await {
        Ok(entered) => entered,
        Err(reply) => return reply.with_about(about),
    };
    let about = About { session: Some(hashed(&entered.id)), ..about };
    if engine.drain.is_cancelled() {
        return Reply::draining(None).with_about(about);
    }
    let mut last = match headers::get(headers, headers::LAST_EVENT_ID).map(EventId::parse) {
        // Whatever comes from now on: see below.
        None => EventId { stream: StreamId::standalone(), number: 0 },
        Some(Some(id)) => id,
        Some(None) => {
            let error = RpcError::invalid_request("`Last-Event-ID` is not an event id of ours");
            return Reply::bad_request(None, &error).with_about(about);
        }
    };
    let resumes = headers.contains_key(headers::LAST_EVENT_ID);
    let key = StreamKey { session: entered.id.clone(), stream: last.stream.clone() };
    match engine.stores.log.read(&key, last.number, 1).await {
        Ok(Some(page)) if !resumes => last.number = page.last,
        Ok(Some(_)) => {}
        Ok(None) => {
            let error = RpcError::invalid_request(
                "the stream of this `Last-Event-ID` has expired; call again",
            );
            return Reply::bad_request(None, &error).with_about(about);
        }
        Err(error) => return Reply::store_away(None, &error).with_about(about),
    }
    let version = entered.session.version;
    match Follower::start(engine, key, version, &caller, last.number).await {
        Ok(mut follower) => {
            follower.take_over(resumes, &entered.session).await;
            Reply::new(StatusCode::OK, ReplyBody::Events(follower.into_body())).with_about(about)
        }
        Err(error) => Reply::store_away(None, &error).with_about(about),
    }
}

/// `DELETE`: ends the session, its streams and its calls, wherever they are.
pub(in crate::engine) async fn delete(
    engine: &Arc<Inner>,
    caller: &Caller,
    headers: &HeaderMap,
) -> Reply {
    let about = About { era: Some("legacy"), method: Some("DELETE"), ..About::default() };
    if let Some(reply) = refuse_modern(headers) {
        return reply;
    }
    let entered = match enter(engine, caller, headers, None, Requests::LIGHT).await {
        Ok(entered) => entered,
        Err(reply) => return reply.with_about(about),
    };
    let about = About { session: Some(hashed(&entered.id)), ..about };
    if let Err(error) = engine.stores.sessions.delete(&entered.id).await {
        return Reply::store_away(None, &error).with_about(about);
    }
    let session = entered.id;
    engine.publish(Signal::Cancelled { session: session.clone(), request: None }).await;
    engine.publish(Signal::SessionEnded(session.clone())).await;
    if let Err(error) = engine.stores.log.forget(&session).await {
        // They expire by themselves, and nobody can reach them any more.
        tracing::warn!(error = %error, "The streams of an ended session remain: {error}");
    }
    Reply::new(StatusCode::NO_CONTENT, ReplyBody::Empty).with_about(about)
}

/// 2026-07-28 has neither GET nor DELETE.
fn refuse_modern(headers: &HeaderMap) -> Option<Reply> {
    let version = headers::get(headers, headers::PROTOCOL_VERSION)?;
    if !ProtocolVersion::names_modern(version) {
        return None;
    }
    let error = RpcError::invalid_request(format!("{version} has no GET and no DELETE; use POST"));
    let about = About { era: Some("modern"), ..About::default() };
    Some(Reply::error(StatusCode::METHOD_NOT_ALLOWED, None, &error).with_about(about))
}
