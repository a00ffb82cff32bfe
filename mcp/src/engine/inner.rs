//! What all requests of an engine share.

use std::{sync::Arc, time::Duration};

use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    legacy::running::RunningCalls,
    lists::Rendered,
    slots::{MAX_LISTENING, MAX_OPEN, Slots},
};
use crate::{
    admission::{Admission, Quota, Requests, Verdict},
    caller::{AccessCheck, Caller},
    caller_jobs::{JobAccess, ToolScopes},
    catalog::Catalog,
    job::{JobSettings, Jobs},
    seal::SealKey,
    store::{CatalogDigest, SessionId, Signal, Stores},
};

/// How long a call may take before its answer becomes a stream, so that proxies and clients see
/// that something happens.
pub(super) const QUICK: Duration = Duration::from_secs(2);

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

/// What all clones of an engine share.
pub(super) struct Inner {
    pub(super) catalog: Arc<dyn Catalog>,
    pub(super) rendered: Rendered,
    /// Of `rendered`.
    pub(super) digest: CatalogDigest,
    pub(super) stores: Stores,
    pub(super) settings: Settings,
    /// What a call needs to look at the jobs of its caller, if there are jobs here.
    pub(super) job_access: Option<JobAccess>,
    /// The `_meta` of every modern result.
    pub(super) server_meta: Box<RawValue>,
    pub(super) running: RunningCalls,
    /// Requests of each person that run or are answered with a stream.
    pub(super) open: Slots,
    /// Streams of each person that wait for changes.
    pub(super) listening: Slots,
    /// Cancelled when the instance is about to go.
    pub(super) drain: CancellationToken,
    /// Every running call and open stream.
    pub(super) busy: TaskTracker,
}

impl Inner {
    pub(super) fn new(catalog: Arc<dyn Catalog>, stores: Stores, settings: Settings) -> Self {
        // Name and version are enough for every answer; `server/discover` tells the rest.
        let implementation = &catalog.info().implementation;
        let server_meta = serde_json::json!({ "io.modelcontextprotocol/serverInfo": {
            "name": implementation.name, "version": implementation.version
        } });
        let job_access = settings.jobs.as_ref().map(|jobs| JobAccess {
            jobs: Arc::clone(&jobs.store),
            scopes: Arc::new(CatalogScopes(Arc::clone(&catalog))),
        });
        let rendered = Rendered::new(&*catalog, settings.jobs.is_some());
        Self {
            digest: rendered.digest(),
            rendered,
            server_meta: serde_json::value::to_raw_value(&server_meta)
                .expect("server information is plain data"),
            catalog,
            stores,
            settings,
            job_access,
            running: RunningCalls::default(),
            open: Slots::new(MAX_OPEN),
            listening: Slots::new(MAX_LISTENING),
            drain: CancellationToken::new(),
            busy: TaskTracker::new(),
        }
    }

    pub(super) fn now(&self) -> i64 {
        (self.settings.now)()
    }

    /// Where jobs are kept, if calls become jobs here.
    pub(super) fn jobs(&self) -> Option<&Arc<dyn Jobs>> {
        self.settings.jobs.as_ref().map(|it| &it.store)
    }

    /// Takes this much of the caller's share; what is left of it, or the quota that is used up.
    pub(super) async fn admit(
        &self,
        caller: &Caller,
        requests: Requests,
    ) -> Result<Option<Quota>, Quota> {
        let Some(admission) = &self.settings.admission else {
            return Ok(None);
        };
        match admission.admit(caller, requests).await {
            Verdict::Admitted(quota) => Ok(quota),
            Verdict::Refused(quota) => Err(quota),
        }
    }

    /// Whether the shared store may keep this much more for the caller.
    pub(super) async fn may_keep(&self, caller: &Caller, bytes: usize) -> bool {
        match &self.settings.admission {
            Some(admission) => admission.keep(caller, bytes).await,
            None => true,
        }
    }

    /// How long until a caller's token expires.
    pub(super) fn until_expiry(&self, caller: &Caller) -> Duration {
        /// Longer than any token lives; keeps the arithmetic of timers in range.
        const AT_MOST: u64 = 7 * 24 * 3600;
        let seconds = caller.expires_at.saturating_sub(self.now());
        Duration::from_secs(u64::try_from(seconds).unwrap_or(0).min(AT_MOST))
    }

    pub(super) async fn publish(&self, signal: Signal) {
        if let Err(error) = self.stores.bus.publish(signal).await {
            tracing::warn!(
                dependency = error.dependency(), error = %error,
                "A signal could not be published: {error}"
            );
        }
    }
}

/// The scopes that a catalog's tools need.
struct CatalogScopes(Arc<dyn Catalog>);

impl ToolScopes for CatalogScopes {
    fn all(&self) -> Vec<(&'static str, &'static str)> {
        self.0.tools().iter().map(|tool| (tool.definition.name, tool.scope)).collect()
    }

    fn of(&self, tool: &str) -> Option<&'static str> {
        self.0.find_tool(tool).map(|index| self.0.tools()[index].scope)
    }
}

/// Tells sessions apart in a log without giving one away.
pub(super) fn hashed(session: &SessionId) -> String {
    use base64::Engine as _;
    let hash = Sha256::digest(session.as_str());
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&hash[..9])
}
