//! Shares of limits that all instances count together: one string for each key, moved by one script.
//!
//! While Redis is away, each instance counts by itself. Only one call in [`PROBE`] looks whether it
//! has come back, so a Redis that hangs delays hardly anybody.

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

/// How long a request waits for the common count. Redis answers within a millisecond or is in
/// trouble.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often it is asked for again while it is away.
const PROBE: Duration = Duration::from_secs(2);

/// How much of the hash of a key stands in Redis, in bytes: enough that no two meet.
const KEY_BYTES: usize = 16;

/// A limiter that all instances share.
pub struct Limits {
    connection: Connection,
    clock: Arc<dyn Clock>,
    take: Script,
    /// Counts while Redis is away.
    alone: InProcess,
    /// When to ask again; nothing while Redis is there.
    away: Mutex<Option<Instant>>,
}

impl Limits {
    /// Rate limits over this connection.
    pub fn new(connection: Connection, clock: Arc<dyn Clock>) -> Self {
        Self {
            connection,
            take: Script::new(include_str!("limits_take.lua")),
            alone: InProcess::new(Arc::clone(&clock)),
            away: Mutex::default(),
            clock,
        }
    }

    /// How far the key's time would be ahead of now; nothing while Redis is away.
    async fn ahead(&self, bucket: &Bucket, key: &str, count: u32) -> Option<i64> {
        if !self.may_ask() {
            return None;
        }
        match timeout(PATIENCE, self.ask(bucket, key, count)).await {
            Ok(Ok(ahead)) => {
                self.is_back();
                Some(ahead)
            }
            Ok(Err(error)) => self.is_away(&error),
            Err(slow) => self.is_away(&slow),
        }
    }

    async fn ask(&self, bucket: &Bucket, key: &str, count: u32) -> Result<i64, StoreError> {
        // A key may be long, and may name a person: its hash serves as well.
        let hash = URL_SAFE_NO_PAD.encode(&Sha256::digest(key)[..KEY_BYTES]);
        let taken = bucket.interval() * i64::from(count.min(bucket.limit));
        let mut take = self.take.prepare_invoke();
        take.key(format!("{}rl:{}:{hash}", self.connection.prefix(), bucket.name))
            .arg(&[FORMAT])
            .arg(self.clock.now().timestamp_micros())
            .arg(taken)
            .arg(bucket.micros());
        self.connection.script(&take).await
    }

    fn may_ask(&self) -> bool {
        let mut away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *away {
            None => true,
            Some(again) if Instant::now() >= *again => {
                // The others go on alone until this one has an answer.
                *again = Instant::now() + PROBE;
                true
            }
            Some(_) => false,
        }
    }

    fn is_back(&self) {
        let mut away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        if away.take().is_some() {
            tracing::info!(
                dependency = REDIS,
                "Limits are counted by all instances together again"
            );
        }
    }

    fn is_away(&self, error: &dyn fmt::Display) -> Option<i64> {
        let mut away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        if away.replace(Instant::now() + PROBE).is_none() {
            tracing::warn!(
                dependency = REDIS, %error,
                "Limits are counted by each instance for itself: {error}"
            );
        }
        None
    }
}

#[async_trait]
impl Limiter for Limits {
    async fn take(&self, bucket: &Bucket, key: &str, count: u32) -> Verdict {
        match self.ahead(bucket, key, count).await {
            Some(ahead) => bucket.judge(ahead),
            None => self.alone.take(bucket, key, count).await,
        }
    }
}

impl fmt::Debug for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Limits")
    }
}
