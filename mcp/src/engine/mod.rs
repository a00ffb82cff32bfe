//! The protocol engine: from an HTTP request to a reply, for any catalog.
//!
//! An engine holds no state that other instances need: only open sockets and running calls.

mod access;
mod dispatch;
mod execute;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod inner;
mod legacy;
mod lists;
mod modern;
mod notifications;
mod replies;
mod request;
mod retry;
mod slots;
mod tasks;

use std::sync::Arc;

use http::HeaderMap;
use tokio_util::sync::CancellationToken;

pub use self::inner::Settings;
use self::{
    inner::{Inner, Published, STREAM_AFTER, hashed},
    replies::ACCESS_ENDED,
};
use crate::{
    caller::Caller,
    catalog::Catalog,
    environment::Environment,
    headers,
    job::{Attempt, AttemptEnd, AttemptStore, Job},
    reply::Reply,
    store::{StoreError, Stores},
};

fn refuse_duplicates(headers: &HeaderMap) -> Option<Reply> {
    let error = headers::check_duplicates(headers).err()?;
    Some(Reply::bad_request(None, &error))
}

/// Serves one catalog. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

impl Engine {
    /// Creates an engine and starts its background tasks. Must be called within a tokio runtime.
    ///
    /// # Panics
    /// If `settings.seal_keys` is empty.
    pub fn new(catalog: Catalog, stores: Stores, settings: Settings) -> Self {
        let published = Published::new(catalog, settings.jobs.is_some());
        Self::start(Arc::new(published), stores, settings, Environment::default())
    }

    /// Creates another instance of the same server: an engine with the same catalog, and nothing
    /// else in common. `settings` must have jobs if those of this engine have. Cheaper than
    /// [`Self::new`]; the background tasks are started in `environment`.
    ///
    /// # Panics
    /// If `settings.seal_keys` is empty.
    #[must_use]
    pub fn replica(&self, stores: Stores, settings: Settings, environment: Environment) -> Self {
        Self::start(Arc::clone(&self.inner.published), stores, settings, environment)
    }

    fn start(
        published: Arc<Published>,
        stores: Stores,
        settings: Settings,
        environment: Environment,
    ) -> Self {
        assert!(!settings.seal_keys.is_empty(), "an engine needs a key to seal request states");
        let inner = Arc::new(Inner::new(published, stores, settings, environment));
        legacy::cancellations::listen(&inner);
        legacy::list_changes::publish_digest(&inner);
        Self { inner }
    }

    /// The current time, in seconds since the Unix epoch.
    pub(crate) fn now(&self) -> i64 {
        self.inner.now()
    }

    /// Handles `POST` on the MCP endpoint.
    pub async fn post(&self, caller: Caller, headers: &HeaderMap, body: bytes::Bytes) -> Reply {
        if let Some(reply) = refuse_duplicates(headers) {
            return reply;
        }
        let Some(slot) = self.inner.open.take(&caller.user) else {
            return Reply::too_many_requests_open();
        };
        dispatch::dispatch(&self.inner, caller, headers, &body).await.holding(slot)
    }

    /// Handles `GET` on the MCP endpoint: opens the standalone stream of a legacy session, or
    /// resumes a stream after `Last-Event-ID`.
    pub async fn get(&self, caller: Caller, headers: &HeaderMap) -> Reply {
        if let Some(reply) = refuse_duplicates(headers) {
            return reply;
        }
        legacy::get(&self.inner, caller, headers).await
    }

    /// Handles `DELETE` on the MCP endpoint: ends a legacy session.
    pub async fn delete(&self, caller: Caller, headers: &HeaderMap) -> Reply {
        if let Some(reply) = refuse_duplicates(headers) {
            return reply;
        }
        legacy::delete(&self.inner, &caller, headers).await
    }

    /// Runs one attempt of a job in a worker, and sends progress to the client. Returns
    /// [`AttemptEnd::Stopped`] soon after `cancel`. Does not send the outcome to the client: call
    /// [`Self::notify_client`] when the outcome is committed.
    pub async fn run_job(
        &self,
        attempt: Attempt,
        attempt_store: Arc<dyn AttemptStore>,
        cancel: CancellationToken,
    ) -> AttemptEnd {
        tasks::run(&self.inner, attempt, attempt_store, cancel).await
    }

    /// Delivers a job's result or questions to the client. Call after the commit. Safe to repeat,
    /// also after an error: the client receives each message once.
    pub async fn notify_client(&self, job: &Job) -> Result<(), StoreError> {
        tasks::stream::notify_client(&self.inner, job).await
    }

    /// Starts a graceful shutdown: refuses new streams, closes legacy streams so that their clients
    /// resume at another instance, and ends listen streams with their result. Running calls
    /// continue.
    pub fn drain(&self) {
        self.inner.drain.cancel();
        self.inner.busy.close();
    }

    /// Waits until no call runs and no stream is open. Use a timeout: calls may run for minutes.
    pub async fn drained(&self) {
        self.inner.busy.wait().await;
    }

    /// The number of running calls and open streams.
    pub fn busy(&self) -> usize {
        self.inner.busy.len()
    }
}
