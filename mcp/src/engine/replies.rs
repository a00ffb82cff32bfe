//! Constructors of replies.

use std::time::Duration;

use futures_util::StreamExt as _;
use http::StatusCode;

use super::slots::{MAX_LISTENING, MAX_OPEN, Slot};
use crate::{
    failure::CallFailure,
    rate_limit::Quota,
    reply::{About, Reply, ReplyBody},
    rpc::{self, RequestId, RpcError, codes},
    sse,
    store::StoreError,
};

/// The error message when the caller's access ended while its call ran.
pub(super) const ACCESS_ENDED: &str = "\
    the access token was revoked while the call ran; the call was stopped and may or may not have \
    taken effect";

impl Reply {
    pub(super) fn new(status: StatusCode, body: ReplyBody) -> Self {
        Self {
            status,
            session: None,
            quota: None,
            retry_after: None,
            body,
            about: About::default(),
        }
    }

    pub(super) fn json(status: StatusCode, body: Vec<u8>) -> Self {
        Self::new(status, ReplyBody::Json(body))
    }

    pub(super) fn accepted() -> Self {
        Self::new(StatusCode::ACCEPTED, ReplyBody::Empty)
    }

    /// Converts a JSON body to an event stream with one event, for a client that does not accept
    /// JSON. Only for status 200: the body of an HTTP error is JSON regardless of `Accept`.
    #[must_use]
    pub(super) fn into_events(mut self) -> Self {
        if self.status == StatusCode::OK
            && let ReplyBody::Json(body) = self.body
        {
            let event = sse::event(None, &rpc::into_text(body));
            self.body = ReplyBody::Events(Box::pin(futures_util::stream::iter([event])));
        }
        self
    }

    pub(super) fn error(status: StatusCode, id: Option<&RequestId>, error: &RpcError) -> Self {
        let mut reply = Self::json(status, rpc::encode_error(id, error));
        reply.about.failure = Some(CallFailure::Rpc(error.code));
        reply
    }

    pub(super) fn bad_request(id: Option<&RequestId>, error: &RpcError) -> Self {
        Self::error(StatusCode::BAD_REQUEST, id, error)
    }

    /// 503: this instance is shutting down and opens no more streams.
    pub(super) fn draining(id: Option<&RequestId>) -> Self {
        let text = "this instance is shutting down; try again now";
        let error = RpcError::new(codes::INTERNAL_ERROR, text);
        Self::error(StatusCode::SERVICE_UNAVAILABLE, id, &error)
    }

    /// The error when the caller's access ended while the call ran.
    pub(super) fn access_ended(id: &RequestId) -> Self {
        let error = RpcError::new(codes::INTERNAL_ERROR, ACCESS_ENDED);
        let mut reply = Self::error(StatusCode::OK, Some(id), &error);
        reply.about.failure = Some(CallFailure::AccessEnded);
        reply
    }

    /// 503: a store is unavailable. Logs the error.
    pub(super) fn store_unavailable(id: Option<&RequestId>, error: &StoreError) -> Self {
        tracing::error!(
            dependency = error.dependency(), %error,
            "A store is unavailable; answering 503"
        );
        Self::error(StatusCode::SERVICE_UNAVAILABLE, id, &RpcError::unavailable())
    }

    /// 429: the quota is exhausted.
    pub(super) fn too_many(id: Option<&RequestId>, quota: Quota) -> Self {
        let reply = Self::error(StatusCode::TOO_MANY_REQUESTS, id, &quota.refusal());
        reply.with_quota(Some(quota))
    }

    /// 429: the user has the maximum number of open streams.
    pub(super) fn too_many_streams(id: Option<&RequestId>) -> Self {
        Self::too_many_open(id, &format!("{MAX_LISTENING} event streams"))
    }

    /// 429: the user has the maximum number of open requests.
    pub(super) fn too_many_requests_open() -> Self {
        Self::too_many_open(None, &format!("{MAX_OPEN} requests"))
    }

    fn too_many_open(id: Option<&RequestId>, what: &str) -> Self {
        let text = format!(
            "you have {what} open at this server, the maximum for one person; close some, or wait \
             for them to end, then try again"
        );
        let error = RpcError::new(codes::TOO_MANY_REQUESTS, text);
        Self::error(StatusCode::TOO_MANY_REQUESTS, id, &error)
    }

    /// Holds a slot until the body of the reply is dropped.
    #[must_use]
    pub(super) fn holding(mut self, slot: Slot) -> Self {
        if let ReplyBody::Events(events) = self.body {
            let held = events.map(move |event| {
                let _held = &slot;
                event
            });
            self.body = ReplyBody::Events(held.boxed());
        }
        self
    }

    #[must_use]
    pub(super) fn with_quota(mut self, quota: Option<Quota>) -> Self {
        self.quota = quota;
        self
    }

    /// Sets status 429: the call was refused while it ran because of a rate limit.
    #[must_use]
    pub(super) fn refused_until(mut self, retry_after: Duration) -> Self {
        self.status = StatusCode::TOO_MANY_REQUESTS;
        self.retry_after = Some(retry_after);
        self
    }

    /// 403: the access token lacks a scope. The client can request it with a step-up authorization.
    pub(super) fn insufficient_scope(id: Option<&RequestId>, needed: &str) -> Self {
        Self::forbidden(needed, rpc::encode_error(id, &RpcError::missing_scope(needed)))
    }

    /// [`Self::insufficient_scope`] with an encoded body.
    pub(super) fn forbidden(needed: &str, body: Vec<u8>) -> Self {
        let body = ReplyBody::InsufficientScope { needed: needed.to_owned(), body };
        let mut reply = Self::new(StatusCode::FORBIDDEN, body);
        reply.about.failure = Some(CallFailure::Rpc(codes::INVALID_REQUEST));
        reply
    }

    #[must_use]
    pub(super) fn with_about(mut self, about: About) -> Self {
        let About { failure, stream_failure, job, .. } = self.about;
        let (failure, job) = (failure.or(about.failure), job.or(about.job));
        self.about = About { failure, stream_failure, job, ..about };
        self
    }
}
