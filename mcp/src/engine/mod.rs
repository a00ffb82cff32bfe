//! From an HTTP request to a reply: everything that a server must do whatever it serves.
//!
//! An engine keeps nothing that another instance would miss. What is in memory here are open
//! sockets and running calls.

mod deploy;
mod exchange;
mod follow;
mod jobs;
mod legacy;
mod listen;
mod lists;
mod modern;
mod notify;
mod open;
mod operation;
mod perform;
mod post;
mod running;

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, StatusCode};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{lists::Rendered, running::Running};
use crate::{
    admission::{Admission, Quota, Requests, Verdict},
    caller::{AccessCheck, Caller},
    catalog::Catalog,
    job::{Attempt, AttemptEnd, Job, JobSettings, Notebook},
    reply::{About, Reply, ReplyBody},
    rpc::{self, RequestId, RpcError, codes},
    seal::SealKey,
    sse,
    store::{CatalogDigest, SessionId, StoreError, Stores},
};

/// How long a call may take before its answer becomes a stream, so that proxies and clients see
/// that something happens.
const QUICK: Duration = Duration::from_secs(2);

/// What an engine must be told.
#[derive(Clone)]
pub struct Settings {
    /// Keys that seal `requestState`: the first one seals, all of them open. The same on every
    /// instance.
    pub seal_keys: Vec<SealKey>,
    /// The time, in seconds since the Unix epoch.
    pub now: Arc<dyn Fn() -> i64 + Send + Sync>,
    /// How many elements a page of a list has.
    pub page_size: usize,
    /// What makes jobs of the calls whose tools say so. Without it every tool runs inline.
    pub jobs: Option<JobSettings>,
    /// Who decides how much a caller may ask; nobody counts without it.
    pub admission: Option<Arc<dyn Admission>>,
    /// Whether callers may still act after their access token was checked. Without it, streams stay
    /// open until the token expires.
    pub access: Option<Arc<dyn AccessCheck>>,
}

impl Settings {
    /// A page that holds every tool of an ordinary server, since some clients read only one.
    pub const PAGE_SIZE: usize = 100;
}

/// What a client reads whose access ended while its call ran.
const ACCESS_ENDED: &str = "the access token was revoked while the call ran; the call was stopped and \
    may or may not have taken effect";

/// Serves one catalog. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    catalog: Arc<dyn Catalog>,
    rendered: Rendered,
    /// Of `rendered`.
    digest: CatalogDigest,
    stores: Stores,
    settings: Settings,
    /// The `_meta` of every modern result.
    server_meta: Box<RawValue>,
    running: Running,
    /// Cancelled when the instance is about to go.
    drain: CancellationToken,
    /// Every running call and open stream.
    busy: TaskTracker,
}

impl Engine {
    /// Begins to serve. Must be called within a tokio runtime.
    ///
    /// # Panics
    /// Without a key to seal with.
    pub fn new(catalog: Arc<dyn Catalog>, stores: Stores, settings: Settings) -> Self {
        assert!(!settings.seal_keys.is_empty(), "an engine needs a key to seal request states");
        // Name and version are enough for every answer; `server/discover` tells the rest.
        let implementation = &catalog.info().implementation;
        let server_meta = serde_json::json!({ "io.modelcontextprotocol/serverInfo": {
            "name": implementation.name, "version": implementation.version
        } });
        let rendered = Rendered::new(&*catalog, settings.jobs.is_some());
        let inner = Arc::new(Inner {
            digest: rendered.digest(),
            rendered,
            server_meta: serde_json::value::to_raw_value(&server_meta)
                .expect("server information is plain data"),
            catalog,
            stores,
            settings,
            running: Running::default(),
            drain: CancellationToken::new(),
            busy: TaskTracker::new(),
        });
        running::listen_for_cancellations(&inner);
        deploy::announce(&inner);
        Self { inner }
    }

    /// `POST` on the MCP endpoint.
    pub async fn post(&self, caller: Caller, headers: &HeaderMap, body: bytes::Bytes) -> Reply {
        post::post(&self.inner, caller, headers, &body).await
    }

    /// `GET` on the MCP endpoint: the standalone stream of a legacy session, or the rest of one
    /// that was cut.
    pub async fn get(&self, caller: Caller, headers: &HeaderMap) -> Reply {
        legacy::get(&self.inner, caller, headers).await
    }

    /// `DELETE` on the MCP endpoint: the end of a legacy session.
    pub async fn delete(&self, caller: Caller, headers: &HeaderMap) -> Reply {
        legacy::delete(&self.inner, &caller, headers).await
    }

    /// Runs one attempt of a job, in a worker, and tells the client of its progress. Ends soon after
    /// `cancel`, with [`AttemptEnd::Stopped`]. The client hears of the end by [`Self::announce`],
    /// once it is kept.
    pub async fn run_job(
        &self,
        attempt: Attempt,
        notebook: Arc<dyn Notebook>,
        cancel: CancellationToken,
    ) -> AttemptEnd {
        jobs::run(&self.inner, attempt, notebook, cancel).await
    }

    /// Tells the client of a job that has ended or asks something. For whoever made it so, after
    /// the commit; again if that is not sure to have happened: the client hears it once. Nothing
    /// was told if it fails.
    pub async fn announce(&self, job: &Job) -> Result<(), StoreError> {
        jobs::announce(&self.inner, job).await
    }

    /// The instance is about to go: refuses new streams, closes legacy ones so that their clients
    /// resume elsewhere, and ends listen streams with their result. Running calls go on.
    pub fn drain(&self) {
        self.inner.drain.cancel();
        self.inner.busy.close();
    }

    /// Waits until no call runs and no stream is open. Bound this wait: a call may take its time.
    pub async fn drained(&self) {
        self.inner.busy.wait().await;
    }

    /// How many calls run and streams are open now.
    pub fn busy(&self) -> usize {
        self.inner.busy.len()
    }
}

impl Inner {
    fn now(&self) -> i64 {
        (self.settings.now)()
    }

    /// Takes this much of the caller's share; what is left of it, or the quota that is used up.
    async fn admit(&self, caller: &Caller, requests: Requests) -> Result<Option<Quota>, Quota> {
        let Some(admission) = &self.settings.admission else {
            return Ok(None);
        };
        match admission.admit(caller, requests).await {
            Verdict::Admitted(quota) => Ok(quota),
            Verdict::Refused(quota) => Err(quota),
        }
    }

    /// How long until a caller's token expires.
    fn until_expiry(&self, caller: &Caller) -> Duration {
        /// Longer than any token lives; keeps the arithmetic of timers in range.
        const AT_MOST: u64 = 7 * 24 * 3600;
        let seconds = caller.expires_at.saturating_sub(self.now());
        Duration::from_secs(u64::try_from(seconds).unwrap_or(0).min(AT_MOST))
    }
}

impl Reply {
    fn new(status: StatusCode, body: ReplyBody) -> Self {
        Self { status, session: None, quota: None, body, about: About::default() }
    }

    fn json(status: StatusCode, body: Vec<u8>) -> Self {
        Self::new(status, ReplyBody::Json(body))
    }

    fn accepted() -> Self {
        Self::new(StatusCode::ACCEPTED, ReplyBody::Empty)
    }

    /// The answer as a stream of one event, for a client that does not accept JSON. Only of a request
    /// that was served: the body of an HTTP error is JSON whatever the client accepts.
    #[must_use]
    fn into_events(mut self) -> Self {
        if self.status == StatusCode::OK
            && let ReplyBody::Json(body) = self.body
        {
            let event = sse::event(None, &rpc::into_text(body));
            self.body = ReplyBody::Events(Box::pin(futures_util::stream::iter([event])));
        }
        self
    }

    fn error(status: StatusCode, id: Option<&RequestId>, error: &RpcError) -> Self {
        let mut reply = Self::json(status, rpc::encode_error(id, error));
        reply.about.error = Some(error.code);
        reply
    }

    fn bad_request(id: Option<&RequestId>, error: &RpcError) -> Self {
        Self::error(StatusCode::BAD_REQUEST, id, error)
    }

    /// This instance opens no more streams; the others do.
    fn draining(id: Option<&RequestId>) -> Self {
        let text = "this instance is shutting down; try again now";
        let error = RpcError::new(codes::INTERNAL_ERROR, text);
        Self::error(StatusCode::SERVICE_UNAVAILABLE, id, &error)
    }

    /// The caller's access ended while the call ran.
    fn access_ended(id: &RequestId) -> Self {
        let error = RpcError::new(codes::INTERNAL_ERROR, ACCESS_ENDED);
        Self::error(StatusCode::OK, Some(id), &error)
    }

    fn store_away(id: Option<&RequestId>, error: &StoreError) -> Self {
        tracing::error!(error = %error, "A store cannot be reached: {error}");
        Self::error(StatusCode::SERVICE_UNAVAILABLE, id, &RpcError::unavailable())
    }

    fn too_many(id: Option<&RequestId>, quota: Quota) -> Self {
        let reply = Self::error(StatusCode::TOO_MANY_REQUESTS, id, &quota.refusal());
        reply.with_quota(Some(quota))
    }

    #[must_use]
    fn with_quota(mut self, quota: Option<Quota>) -> Self {
        self.quota = quota;
        self
    }

    /// The access token lacks a scope: the client is told to ask its user for it.
    fn insufficient_scope(id: Option<&RequestId>, needed: &str) -> Self {
        Self::forbidden(needed, rpc::encode_error(id, &RpcError::missing_scope(needed)))
    }

    /// The same with a body that is written already.
    fn forbidden(needed: &str, body: Vec<u8>) -> Self {
        let body = ReplyBody::InsufficientScope { needed: needed.to_owned(), body };
        let mut reply = Self::new(StatusCode::FORBIDDEN, body);
        reply.about.error = Some(codes::INVALID_REQUEST);
        reply
    }

    #[must_use]
    fn with_about(mut self, about: About) -> Self {
        let error = self.about.error.or(about.error);
        let tool_error = self.about.tool_error || about.tool_error;
        self.about = About { error, tool_error, ..about };
        self
    }
}

/// Tells sessions apart in a log without giving one away.
fn hashed(session: &SessionId) -> String {
    use base64::Engine as _;
    let hash = Sha256::digest(session.as_str());
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&hash[..9])
}
