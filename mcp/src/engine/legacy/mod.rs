//! Legacy sessions: 2025-11-25, 2025-06-18 and 2025-03-26.

pub(super) mod cancellations;
mod client;
mod delivery;
mod job_requests;
mod lease_watch;
pub(super) mod list_changes;
mod quirks;
mod requests;
mod rerun;
mod response;
mod run;
pub(super) mod running;
mod session;
mod stream_reader;
mod streams;

use std::{collections::BTreeSet, ops::Add as _, sync::Arc};

use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

use self::session::{ActiveSession, load_session};
pub(super) use self::streams::{delete, get};
use super::{Inner, hashed, request::read_params};
use crate::{
    caller::{Caller, UserId},
    headers,
    rate_limit::RequestCost,
    reply::{About, Reply},
    rpc::{self, Message, Request, RpcError},
    store::{MAX_SESSIONS_PER_USER, Session, SessionId},
    types::{ClientCapabilities, Implementation, LogLevel, MAX_CAPABILITIES_BYTES},
    version::ProtocolVersion,
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InitializeParams<'a> {
    protocol_version: String,
    #[serde(borrow)]
    capabilities: Option<&'a RawValue>,
    #[serde(borrow)]
    client_info: Option<&'a RawValue>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InitializeResult<'a> {
    protocol_version: &'static str,
    capabilities: Value,
    server_info: &'a Implementation,
    #[serde(skip_serializing_if = "Option::is_none")]
    instructions: Option<&'a str>,
}

/// Handles `initialize`: negotiates the revision and creates a session.
pub(super) async fn initialize(
    engine: &Arc<Inner>,
    caller: Caller,
    request: &Request<'_>,
) -> Reply {
    let about = About { era: Some("legacy"), method: Some("initialize"), ..About::default() };
    let quota = match engine.check_rate(&caller, RequestCost::LIGHT).await {
        Ok(quota) => quota,
        Err(exhausted) => return Reply::too_many(Some(&request.id), exhausted).with_about(about),
    };
    let params: InitializeParams<'_> = match read_params("initialize", &request.params) {
        Ok(params) => params,
        Err(error) => {
            return Reply::error(StatusCode::OK, Some(&request.id), &error).with_about(about);
        }
    };
    let declared = params.capabilities.map_or(0, |sent| sent.get().len());
    if declared > MAX_CAPABILITIES_BYTES {
        let error = RpcError::invalid_params(format!(
            "`capabilities` has {declared} bytes; the maximum is {MAX_CAPABILITIES_BYTES}"
        ));
        return Reply::error(StatusCode::OK, Some(&request.id), &error).with_about(about);
    }
    let version = params
        .protocol_version
        .parse()
        .ok()
        .filter(|version: &ProtocolVersion| !version.is_modern())
        .unwrap_or(ProtocolVersion::LATEST_LEGACY);
    let id = engine.environment.session_id();
    let session = Session {
        user: caller.user,
        version,
        capabilities: ClientCapabilities::declared(params.capabilities),
        client_info: Implementation::declared(params.client_info),
        log_level: LogLevel::Info,
        subscriptions: BTreeSet::new(),
        catalog: engine.digest.clone(),
        began: Some(engine.now()),
    };
    match engine.stores.sessions.create(&id, &session).await {
        Ok(evicted) => {
            tracing::debug!(target: crate::COUNTED, sessions_created = 1_u64, "Created a session");
            end_evicted(engine, &session.user, evicted);
        }
        Err(error) => return Reply::store_unavailable(Some(&request.id), &error).with_about(about),
    }
    let info = engine.catalog.info();
    let mut implementation = info.implementation.clone();
    if version < ProtocolVersion::V2025_11_25 {
        implementation.icons = Vec::new();
        implementation.description = None;
        implementation.website_url = None;
    }
    if version < ProtocolVersion::V2025_06_18 {
        implementation.title = None;
    }
    let result = InitializeResult {
        protocol_version: version.as_str(),
        capabilities: engine.capabilities(version, &session.capabilities),
        server_info: &implementation,
        instructions: info.instructions.as_deref(),
    };
    let mut reply = Reply::json(StatusCode::OK, rpc::encode_result(&request.id, &result));
    reply.session = Some(id.as_str().to_owned());
    reply.quota = quota;
    reply.with_about(About { session: Some(hashed(&id)), ..about })
}

/// Ends sessions above the limit of a user, in the background. If this fails they expire.
fn end_evicted(engine: &Arc<Inner>, user: &UserId, evicted: Vec<SessionId>) {
    if evicted.is_empty() {
        return;
    }
    tracing::info!(
        user = %user,
        evicted = evicted.len(),
        "Ending the longest idle sessions of a user with more than {MAX_SESSIONS_PER_USER}"
    );
    let sessions_evicted = evicted.len();
    tracing::debug!(target: crate::COUNTED, sessions_evicted, "Evicted sessions");
    let (engine, user) = (Arc::clone(engine), user.clone());
    engine.clone().spawn(async move {
        for session in evicted {
            if let Err(error) = streams::end(&engine, &user, session).await {
                tracing::warn!(
                    dependency = error.dependency(), %error,
                    "Could not end an evicted session; it expires"
                );
            }
        }
    });
}

/// Handles a message of a legacy session.
pub(super) async fn message(
    engine: &Arc<Inner>,
    caller: Caller,
    headers: &HeaderMap,
    message: Message<'_>,
) -> Reply {
    let id = match &message {
        Message::Request(request) => Some(&request.id),
        Message::Notification { .. } | Message::Response { .. } => None,
    };
    let mut about = About { era: Some("legacy"), ..About::default() };
    let active = match load_session(engine, &caller, headers, id, engine.cost(&message)).await {
        Ok(active) => active,
        Err(reply) => return reply.with_about(about),
    };
    about.session = Some(hashed(&active.id));
    let quota = active.quota;
    let reply = match message {
        Message::Request(request) => {
            let accepted = headers::accepted(headers);
            requests::answer(engine, caller, active, vec![request], false, accepted, about).await
        }
        Message::Notification { method, params } => {
            match client::notification(engine, &active, &method, &params).await {
                Ok(known) => Reply::accepted().with_about(About { method: known, ..about }),
                Err(error) => Reply::store_unavailable(None, &error).with_about(about),
            }
        }
        Message::Response { id, outcome } => {
            client::response(engine, caller, &active, id, outcome).await.with_about(about)
        }
    };
    reply.with_quota(quota)
}

/// Handles a batch (2025-03-26 only).
pub(super) async fn batch(
    engine: &Arc<Inner>,
    caller: Caller,
    headers: &HeaderMap,
    messages: Vec<Message<'_>>,
) -> Reply {
    let mut about = About { era: Some("legacy"), ..About::default() };
    let cost = messages
        .iter()
        .map(|message| engine.cost(message))
        .fold(RequestCost::default(), RequestCost::add);
    let active = match load_session(engine, &caller, headers, None, cost).await {
        Ok(active) => active,
        Err(reply) => return reply.with_about(about),
    };
    about.session = Some(hashed(&active.id));
    let quota = active.quota;
    if active.session.version != ProtocolVersion::V2025_03_26 {
        let error = RpcError::invalid_request(format!(
            "batches exist only in protocol version 2025-03-26; this session uses {}",
            active.session.version
        ));
        return Reply::bad_request(None, &error).with_about(about);
    }
    let mut requested = Vec::new();
    for message in messages {
        match message {
            Message::Request(request) => requested.push(request),
            Message::Notification { method, params } => {
                if let Err(error) = client::notification(engine, &active, &method, &params).await {
                    return Reply::store_unavailable(None, &error).with_about(about);
                }
            }
            Message::Response { id, outcome } => {
                let reply = client::response(engine, caller.clone(), &active, id, outcome).await;
                if !reply.status.is_success() {
                    return reply.with_about(about);
                }
            }
        }
    }
    if requested.is_empty() {
        return Reply::accepted().with_about(about).with_quota(quota);
    }
    let accepted = headers::accepted(headers);
    let answered = requests::answer(engine, caller, active, requested, true, accepted, about);
    answered.await.with_quota(quota)
}
