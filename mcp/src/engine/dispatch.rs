//! Dispatches a POST to the era it belongs to. The order of the checks is part of the contract:
//! every instance must decide alike, because clients cache the era per origin (2026-07-28,
//! basic/versioning).

use std::sync::Arc;

use http::{HeaderMap, StatusCode};

use super::{Inner, legacy, modern};
use crate::{
    caller::Caller,
    headers,
    reply::Reply,
    rpc::{self, Body, Message, Request, RpcError},
    version::ProtocolVersion,
};

pub(super) async fn dispatch(
    engine: &Arc<Inner>,
    caller: Caller,
    headers: &HeaderMap,
    body: &[u8],
) -> Reply {
    if !headers::is_json(headers) {
        let error = RpcError::invalid_request("send `Content-Type: application/json`");
        return Reply::error(StatusCode::UNSUPPORTED_MEDIA_TYPE, None, &error);
    }
    let accepted = headers::accepted(headers);
    if !accepted.json && !accepted.events {
        let error = RpcError::invalid_request(
            "send `Accept: application/json, text/event-stream`: responses have one of these types",
        );
        return Reply::error(StatusCode::NOT_ACCEPTABLE, None, &error);
    }
    let reply = match rpc::parse_body(body) {
        Err(malformed) => Reply::bad_request(malformed.id.as_ref(), &malformed.error),
        Ok(Body::Batch(elements)) => batch(engine, caller, headers, elements).await,
        Ok(Body::Single(message)) => single(engine, caller, headers, message).await,
    };
    if accepted.json { reply } else { reply.into_events() }
}

async fn batch(
    engine: &Arc<Inner>,
    caller: Caller,
    headers: &HeaderMap,
    elements: Vec<Result<Message<'_>, rpc::Malformed>>,
) -> Reply {
    let mut messages = Vec::with_capacity(elements.len());
    for element in elements {
        match element {
            Err(malformed) => {
                return Reply::bad_request(malformed.id.as_ref(), &malformed.error);
            }
            Ok(message) if claims_modern(&message) => {
                let error = RpcError::invalid_request("protocol version 2026-07-28 has no batches");
                return Reply::bad_request(None, &error);
            }
            Ok(message) => messages.push(message),
        }
    }
    legacy::batch(engine, caller, headers, messages).await
}

async fn single(
    engine: &Arc<Inner>,
    caller: Caller,
    headers: &HeaderMap,
    message: Message<'_>,
) -> Reply {
    let names_modern =
        headers::get(headers, headers::PROTOCOL_VERSION).is_some_and(ProtocolVersion::names_modern);
    let claims_modern = claims_modern(&message);
    match message {
        // Only legacy clients send responses: a modern server sends no requests.
        Message::Response { .. } => legacy::message(engine, caller, headers, message).await,
        Message::Request(request) if claims_modern => {
            modern::request(engine, caller, headers, request).await
        }
        Message::Request(request) if request.method == "initialize" => {
            if names_modern {
                let error = RpcError::header_mismatch(
                    "the header `MCP-Protocol-Version` names a version that has no `initialize`",
                );
                return Reply::bad_request(Some(&request.id), &error);
            }
            legacy::initialize(engine, caller, &request).await
        }
        Message::Request(request) if names_modern => modern::missing_meta(&request),
        // 2026-07-28 defines no client notifications over HTTP: accepted and ignored.
        Message::Notification { .. } if claims_modern || names_modern => Reply::accepted(),
        message => legacy::message(engine, caller, headers, message).await,
    }
}

/// Whether `_meta` has a protocol version. This alone makes a message modern, regardless of other
/// errors in it.
fn claims_modern(message: &Message<'_>) -> bool {
    match message {
        Message::Request(Request { params, .. }) | Message::Notification { params, .. } => {
            params.meta(modern::VERSION_KEY).is_some()
        }
        Message::Response { .. } => false,
    }
}
