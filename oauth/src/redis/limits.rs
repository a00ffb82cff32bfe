//! Rate limits that all instances count together: one string per key, updated by one script.
//!
//! While Redis is unavailable, each instance counts alone. Only one call per [`PROBE_INTERVAL`]
//! checks whether it is available again, so an unresponsive Redis delays few requests.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use mcp::{StoreError, store::redis::Connection};
use platform::clock::Clock;
use redis::Script;
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, timeout};

use super::{FORMAT, REDIS};
use crate::limits::{Bucket, InProcess, Limiter, Verdict};

/// The timeout for the shared count. Redis normally responds within a millisecond.
const TIMEOUT: Duration = Duration::from_secs(1);

/// The time between two attempts while Redis is unavailable.
const PROBE_INTERVAL: Duration = Duration::from_secs(2);

/// The length of the hash of a key in Redis, in bytes: enough to avoid collisions.
const KEY_BYTES: usize = 16;

/// A rate limiter that all instances share.
pub struct Limits {
    connection: Connection,
    clock: Arc<dyn Clock>,
    take: Script,
    /// The limiter in use while Redis is unavailable.
    local: InProcess,
    /// The time of the next attempt. `None`: Redis is available.
    retry_at: Mutex<Option<Instant>>,
}

impl Limits {
    /// Creates a limiter that uses this connection.
    pub fn new(connection: Connection, clock: Arc<dyn Clock>) -> Self {
        Self {
            connection,
            take: Script::new(include_str!("limits_take.lua")),
            local: InProcess::new(Arc::clone(&clock)),
            retry_at: Mutex::default(),
            clock,
        }
    }

    /// Returns how far the key's stored time would be ahead of now, in microseconds. `None`: Redis
    /// is unavailable.
    async fn ahead(&self, bucket: &Bucket, key: &str, count: u32) -> Option<i64> {
        if !self.may_try() {
            return None;
        }
        match timeout(TIMEOUT, self.take_shared(bucket, key, count)).await {
            Ok(Ok(ahead)) => {
                self.mark_available();
                Some(ahead)
            }
            Ok(Err(error)) => self.mark_unavailable(&error),
            Err(elapsed) => self.mark_unavailable(&elapsed),
        }
    }

    async fn take_shared(&self, bucket: &Bucket, key: &str, count: u32) -> Result<i64, StoreError> {
        // A key may be long and may identify a user, so its hash is used.
        let hash = URL_SAFE_NO_PAD.encode(&Sha256::digest(key)[..KEY_BYTES]);
        let taken = bucket.interval() * i64::from(count.min(bucket.limit));
        let mut take = self.take.prepare_invoke();
        take.key(format!("{}rl:{}:{hash}", self.connection.prefix(), bucket.name))
            .arg(&[FORMAT])
            .arg(self.clock.now().timestamp_micros())
            .arg(taken)
            .arg(bucket.micros());
        self.connection.script("rate_limit_take", &take).await
    }

    fn may_try(&self) -> bool {
        let mut retry_at = self.retry_at.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *retry_at {
            None => true,
            Some(at) if Instant::now() >= *at => {
                // Until this call has finished, other requests are counted by the local limiter.
                *at = Instant::now() + PROBE_INTERVAL;
                true
            }
            Some(_) => false,
        }
    }

    fn mark_available(&self) {
        let mut retry_at = self.retry_at.lock().unwrap_or_else(PoisonError::into_inner);
        if retry_at.take().is_some() {
            tracing::info!(dependency = REDIS, "Rate limits are shared by all instances again");
        }
    }

    fn mark_unavailable(&self, error: &dyn fmt::Display) -> Option<i64> {
        let mut retry_at = self.retry_at.lock().unwrap_or_else(PoisonError::into_inner);
        if retry_at.replace(Instant::now() + PROBE_INTERVAL).is_none() {
            tracing::warn!(
                dependency = REDIS, %error,
                "Redis is unavailable; each instance counts rate limits alone"
            );
        }
        None
    }
}

#[async_trait]
impl Limiter for Limits {
    async fn decide(&self, bucket: &Bucket, key: &str, count: u32) -> Verdict {
        match self.ahead(bucket, key, count).await {
            Some(ahead) => bucket.judge(ahead),
            None => self.local.decide(bucket, key, count).await,
        }
    }
}

impl fmt::Debug for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Limits")
    }
}
