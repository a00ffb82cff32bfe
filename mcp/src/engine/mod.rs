//! From an HTTP request to a reply: everything that a server must do whatever it serves.
//!
//! An engine keeps nothing that another instance would miss. What is in memory here are open
//! sockets and running calls.

mod access;
mod dispatch;
mod execute;
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
    inner::{Inner, QUICK, hashed},
    replies::ACCESS_ENDED,
};
use crate::{
    caller::Caller,
    catalog::Catalog,
    headers,
    job::{Attempt, AttemptEnd, Job, Notebook},
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
    /// Begins to serve. Must be called within a tokio runtime.
    ///
    /// # Panics
    /// Without a key to seal with.
    pub fn new(catalog: Arc<dyn Catalog>, stores: Stores, settings: Settings) -> Self {
        assert!(!settings.seal_keys.is_empty(), "an engine needs a key to seal request states");
        let inner = Arc::new(Inner::new(catalog, stores, settings));
        legacy::cancellations::listen(&inner);
        legacy::list_changes::announce(&inner);
        Self { inner }
    }

    /// `POST` on the MCP endpoint.
    pub async fn post(&self, caller: Caller, headers: &HeaderMap, body: bytes::Bytes) -> Reply {
        if let Some(reply) = refuse_duplicates(headers) {
            return reply;
        }
        let Some(slot) = self.inner.open.take(&caller.user) else {
            return Reply::too_many_requests_open();
        };
        dispatch::dispatch(&self.inner, caller, headers, &body).await.holding(slot)
    }

    /// `GET` on the MCP endpoint: the standalone stream of a legacy session, or the rest of one
    /// that was cut.
    pub async fn get(&self, caller: Caller, headers: &HeaderMap) -> Reply {
        if let Some(reply) = refuse_duplicates(headers) {
            return reply;
        }
        legacy::get(&self.inner, caller, headers).await
    }

    /// `DELETE` on the MCP endpoint: the end of a legacy session.
    pub async fn delete(&self, caller: Caller, headers: &HeaderMap) -> Reply {
        if let Some(reply) = refuse_duplicates(headers) {
            return reply;
        }
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
        tasks::run(&self.inner, attempt, notebook, cancel).await
    }

    /// Tells the client of a job that has ended or asks something. For whoever made it so, after
    /// the commit; again if that is not sure to have happened: the client hears it once. Nothing
    /// was told if it fails.
    pub async fn announce(&self, job: &Job) -> Result<(), StoreError> {
        tasks::stream::announce(&self.inner, job).await
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
