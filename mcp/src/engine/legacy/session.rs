//! The session of a request.

use http::{HeaderMap, StatusCode};

use crate::{
    caller::Caller,
    engine::Inner,
    headers,
    rate_limit::{Quota, RequestCost},
    reply::Reply,
    rpc::{RequestId, RpcError},
    store::{Session, SessionId},
    version::ProtocolVersion,
};

/// The session of a request.
pub(super) struct ActiveSession {
    pub(super) id: SessionId,
    pub(super) session: Session,
    pub(super) quota: Option<Quota>,
}

/// Loads the session of a request and counts the request against the caller's quotas, concurrently.
/// The error is the reply: 429 if the quota is exhausted, 400 without a session header, 404 if the
/// user has no such session (2025-11-25, basic/transports, "Session Management").
pub(super) async fn load_session(
    engine: &Inner,
    caller: &Caller,
    headers: &HeaderMap,
    request: Option<&RequestId>,
    cost: RequestCost,
) -> Result<ActiveSession, Reply> {
    let id = session_id(headers, request).map_err(|reply| *reply)?;
    let loading = engine.stores.sessions.load(&caller.user, &id);
    let (counted, loaded) = tokio::join!(engine.check_rate(caller, cost), loading);
    let quota = counted.map_err(|exhausted| Reply::too_many(request, exhausted))?;
    match loaded {
        Ok(Some(session)) => Ok(ActiveSession { id, session, quota }),
        Ok(None) => Err(unknown_session(request)),
        Err(error) => Err(Reply::store_unavailable(request, &error)),
    }
}

/// Reads the id of the session from the headers of a request. The error is the reply: 400 without a
/// session header, or with a revision without sessions; 404 if the id is malformed.
pub(super) fn session_id(
    headers: &HeaderMap,
    request: Option<&RequestId>,
) -> Result<SessionId, Box<Reply>> {
    if let Some(version) = headers::get(headers, headers::PROTOCOL_VERSION)
        && !version.parse().is_ok_and(|version: ProtocolVersion| !version.is_modern())
    {
        let error = RpcError::invalid_request(format!(
            "the header `MCP-Protocol-Version` names a version without sessions, or one that is not \
             supported; supported are {}",
            ProtocolVersion::names().join(", ")
        ));
        return Err(Box::new(Reply::bad_request(request, &error)));
    }
    let Some(sent) = headers::get(headers, headers::SESSION_ID) else {
        let error = RpcError::invalid_request(
            "the header `Mcp-Session-Id` is missing: send `initialize` first, then send its \
             session id with every request",
        );
        return Err(Box::new(Reply::bad_request(request, &error)));
    };
    SessionId::parse(sent).ok_or_else(|| Box::new(no_session(request)))
}

/// The reply to a request for a session that the user does not have in the store.
pub(super) fn unknown_session(request: Option<&RequestId>) -> Reply {
    tracing::debug!(target: crate::COUNTED, sessions_unknown = 1_u64, "The session does not exist");
    no_session(request)
}

fn no_session(request: Option<&RequestId>) -> Reply {
    let error =
        RpcError::invalid_request("this session does not exist or has ended; initialize again");
    Reply::error(StatusCode::NOT_FOUND, request, &error)
}
