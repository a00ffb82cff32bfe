//! The state that all requests of an engine share, and the settings.

use std::{ops::Deref, sync::Arc, time::Duration};

use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    legacy::running::RunningCalls,
    lists::Rendered,
    slots::{MAX_LISTENING, MAX_OPEN, Slots},
};
use crate::{
    caller::{AccessCheck, Caller},
    caller_jobs::{JobAccess, ToolScopes},
    catalog::Catalog,
    environment::Environment,
    job::{JobSettings, Jobs},
    rate_limit::{Quota, RateDecision, RateLimiter, RequestCost},
    rpc::{Message, Request},
    seal::{SealKey, Sealing},
    store::{CatalogDigest, SessionId, Signal, Stores},
};

/// How long a call may run before its response becomes a stream, so that proxies and clients see
/// activity.
pub(super) const STREAM_AFTER: Duration = Duration::from_secs(2);

/// The settings of an engine.
#[derive(Clone)]
pub struct Settings {
    /// The keys that encrypt `requestState`: the first one encrypts, all of them decrypt. All
    /// instances must have the same keys.
    pub seal_keys: Vec<SealKey>,
    /// The clock, in seconds since the Unix epoch.
    pub now: Arc<dyn Fn() -> i64 + Send + Sync>,
    /// The number of elements on a page of a list.
    pub page_size: usize,
    /// Runs calls of tools with [`RunMode::Job`](crate::RunMode::Job) as jobs. `None`: every tool
    /// runs inline.
    pub jobs: Option<JobSettings>,
    /// The rate limiter. `None`: requests are not limited.
    pub rate_limiter: Option<Arc<dyn RateLimiter>>,
    /// Detects revocations after the access token was checked. `None`: streams stay open until the
    /// token expires.
    pub access: Option<Arc<dyn AccessCheck>>,
}

impl Settings {
    /// The default page size: all tools of an ordinary server, since some clients read only one
    /// page.
    pub const PAGE_SIZE: usize = 100;
}

/// What a server publishes: constant, and equal on all instances of one version.
pub(super) struct Published {
    pub(super) catalog: Arc<Catalog>,
    pub(super) rendered: Rendered,
    /// The digest of `rendered`.
    pub(super) digest: CatalogDigest,
    /// The `_meta` of every modern result.
    pub(super) server_meta: Box<RawValue>,
}

impl Published {
    /// `with_jobs`: whether the engine runs tools as jobs.
    pub(super) fn new(catalog: Catalog, with_jobs: bool) -> Self {
        // Every result has name and version; only `server/discover` has the other fields.
        let implementation = &catalog.info().implementation;
        let server_meta = serde_json::json!({ "io.modelcontextprotocol/serverInfo": {
            "name": implementation.name, "version": implementation.version
        } });
        let rendered = Rendered::new(&catalog, with_jobs);
        Self {
            digest: rendered.digest(),
            rendered,
            server_meta: serde_json::value::to_raw_value(&server_meta)
                .expect("server information is plain data"),
            catalog: Arc::new(catalog),
        }
    }
}

/// The state that all clones of an engine share.
pub(super) struct Inner {
    pub(super) published: Arc<Published>,
    pub(super) stores: Stores,
    pub(super) settings: Settings,
    pub(super) environment: Environment,
    /// Seals data for clients, with the keys of the settings.
    pub(super) sealing: Arc<Sealing>,
    /// Access to jobs, with the scopes they require. `None`: the engine has no jobs.
    pub(super) job_access: Option<JobAccess>,
    pub(super) running: RunningCalls,
    /// Limits the requests of each user that run or are answered with a stream.
    pub(super) open: Slots,
    /// Limits the streams of each user that wait for changes.
    pub(super) listening: Slots,
    /// Cancelled when the instance starts to shut down.
    pub(super) drain: CancellationToken,
    /// Tracks every running call and open stream.
    pub(super) busy: TaskTracker,
}

impl Deref for Inner {
    type Target = Published;

    fn deref(&self) -> &Published {
        &self.published
    }
}

impl Inner {
    pub(super) fn new(
        published: Arc<Published>,
        stores: Stores,
        settings: Settings,
        environment: Environment,
    ) -> Self {
        let job_access = settings.jobs.as_ref().map(|jobs| JobAccess {
            jobs: Arc::clone(&jobs.store),
            scopes: Arc::new(CatalogScopes(Arc::clone(&published.catalog))),
        });
        let sealing = Sealing {
            keys: settings.seal_keys.clone(),
            now: Arc::clone(&settings.now),
            environment: environment.clone(),
        };
        Self {
            published,
            stores,
            settings,
            environment,
            sealing: Arc::new(sealing),
            job_access,
            running: RunningCalls::default(),
            open: Slots::new(MAX_OPEN),
            listening: Slots::new(MAX_LISTENING),
            drain: CancellationToken::new(),
            busy: TaskTracker::new(),
        }
    }

    /// Runs a task in the background; a shutdown waits for it.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.environment.spawn_tracked(&self.busy, task);
    }

    pub(super) fn now(&self) -> i64 {
        (self.settings.now)()
    }

    /// The store of jobs. `None`: the engine has no jobs.
    pub(super) fn jobs(&self) -> Option<&Arc<dyn Jobs>> {
        self.settings.jobs.as_ref().map(|it| &it.store)
    }

    /// Counts a request against the caller's quotas. Returns the remaining quota (`None`: not
    /// limited), or the exhausted one as the error.
    pub(super) async fn check_rate(
        &self,
        caller: &Caller,
        cost: RequestCost,
    ) -> Result<Option<Quota>, Quota> {
        let Some(limiter) = &self.settings.rate_limiter else {
            return Ok(None);
        };
        match limiter.check(caller, cost).await {
            RateDecision::Allowed(quota) => Ok(quota),
            RateDecision::Refused(quota) => Err(quota),
        }
    }

    /// The cost of a message.
    pub(super) fn cost(&self, message: &Message<'_>) -> RequestCost {
        match message {
            Message::Request(request) => self.request_cost(request),
            other => RequestCost::of(other),
        }
    }

    /// The cost of a request. Views poll with tools that only they call, and that only read.
    pub(super) fn request_cost(&self, request: &Request<'_>) -> RequestCost {
        let polls = || {
            let name = request.params.get("name")?.get().strip_prefix('"')?.strip_suffix('"')?;
            let tool = self.catalog.find_tool(name)?;
            (tool.entry.view_only && tool.is_read_only()).then_some(RequestCost::FOLLOWUP)
        };
        let polling = (request.method == "tools/call").then(polls).flatten();
        polling.unwrap_or_else(|| RequestCost::of_request(request))
    }

    /// Reserves storage for the caller. `false`: this would exceed the caller's storage quota.
    pub(super) async fn reserve_storage(&self, caller: &Caller, bytes: usize) -> bool {
        match &self.settings.rate_limiter {
            Some(limiter) => limiter.reserve_storage(caller, bytes).await,
            None => true,
        }
    }

    /// Time until the caller's access token expires.
    pub(super) fn until_expiry(&self, caller: &Caller) -> Duration {
        /// Longer than the lifetime of any token; keeps timers in range.
        const AT_MOST: u64 = 7 * 24 * 3600;
        let seconds = caller.expires_at.saturating_sub(self.now());
        Duration::from_secs(u64::try_from(seconds).unwrap_or(0).min(AT_MOST))
    }

    /// Publishes a signal. Failures are only logged: a signal is a hint.
    pub(super) async fn publish(&self, signal: Signal) {
        if let Err(error) = self.stores.bus.publish(signal).await {
            tracing::warn!(
                dependency = error.dependency(), %error,
                "Could not publish a signal; its subscribers find the change later"
            );
        }
    }
}

/// The scopes that the tools of a catalog require.
struct CatalogScopes(Arc<Catalog>);

impl ToolScopes for CatalogScopes {
    fn all(&self) -> Vec<(&'static str, &'static str)> {
        self.0.tools().map(|tool| (tool.definition.name, tool.scope)).collect()
    }

    fn of(&self, tool: &str) -> Option<&'static str> {
        self.0.find_tool(tool).map(|tool| tool.entry.scope)
    }
}

/// A hash of a session id for logs, which must not contain the id itself.
pub(super) fn hashed(session: &SessionId) -> String {
    use base64::Engine as _;
    let hash = Sha256::digest(session.as_str());
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&hash[..9])
}
