//! Replies of the engine as HTTP responses.

use std::collections::BTreeSet;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};

use super::{
    bearer::{Scheme, insufficient_scope},
    body::ResponseBody,
};
use crate::{
    headers,
    rate_limit::Quota,
    reply::{Reply, ReplyBody},
};

/// The methods of the MCP endpoint that the engine handles, as in `Allow`.
pub(super) const METHODS: &str = "GET, POST, DELETE";

/// The `Retry-After` of errors that usually pass without intervention, such as an unavailable
/// database, in seconds.
pub(super) const RETRY_AFTER_SECONDS: u32 = 5;

pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");

const SESSION_ID: HeaderName = HeaderName::from_static(headers::SESSION_ID);
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Converts a reply to a response. `granted`: the scopes of the access token. `scheme`: how the client
/// sent it. `resource_metadata`
/// returns the URL of the metadata document, and is called only for a challenge. The extensions of the
/// response have the [`About`](crate::About) of the reply.
pub fn response(
    reply: Reply,
    granted: &BTreeSet<String>,
    scheme: Scheme,
    resource_metadata: impl FnOnce() -> Option<String>,
) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::Empty);
    *response.status_mut() = reply.status;
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(session) = reply.session.and_then(|id| HeaderValue::try_from(id).ok()) {
        headers.insert(SESSION_ID, session);
    }
    if reply.status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, HeaderValue::from_static(METHODS));
    }
    if let Some(quota) = &reply.quota {
        rate_limit(headers, quota);
    }
    if reply.status == StatusCode::TOO_MANY_REQUESTS {
        let wait = reply.retry_after.or(reply.quota.map(|quota| quota.reset));
        let seconds = wait.map_or(RETRY_AFTER_SECONDS.into(), |wait| wait.as_secs().max(1));
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    if reply.status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, RETRY_AFTER_SECONDS.into());
    }
    match reply.body {
        ReplyBody::Empty => {}
        ReplyBody::Json(body) => {
            headers.insert(header::CONTENT_TYPE, JSON);
            *response.body_mut() = ResponseBody::Full(Bytes::from(body));
        }
        ReplyBody::Events(events) => {
            headers.insert(header::CONTENT_TYPE, EVENT_STREAM);
            // Proxies such as nginx would otherwise buffer events.
            headers.insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
            *response.body_mut() = ResponseBody::Events(events);
        }
        ReplyBody::InsufficientScope { needed, body } => {
            let metadata = resource_metadata();
            let challenge = insufficient_scope(scheme, metadata.as_deref(), granted, &needed);
            headers.insert(header::WWW_AUTHENTICATE, challenge);
            headers.insert(header::CONTENT_TYPE, JSON);
            *response.body_mut() = ResponseBody::Full(Bytes::from(body));
            *response.status_mut() = StatusCode::FORBIDDEN;
        }
    }
    response.extensions_mut().insert(reply.about);
    response
}

/// Adds the headers of the caller's quota (draft-ietf-httpapi-ratelimit-headers-10).
fn rate_limit(headers: &mut HeaderMap, quota: &Quota) {
    let Quota { policy, limit, window, remaining, reset } = quota;
    let fields = [
        (RATE_LIMIT_POLICY, format!("\"{policy}\";q={limit};w={}", window.as_secs())),
        (RATE_LIMIT, format!("\"{policy}\";r={remaining};t={}", reset.as_secs())),
    ];
    for (name, value) in fields {
        // A policy name that is not visible ASCII cannot be sent.
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
}
