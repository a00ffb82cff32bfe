//! Where documents are kept between requests.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use platform::clock::Clock;
use tokio::time::Instant;

/// Keeps documents for all instances, and lets one of them fetch at a time. Best effort: when the
/// store is away, each instance fetches for itself.
#[async_trait]
pub trait Documents: Send + Sync + fmt::Debug {
    /// What is kept under a key.
    async fn get(&self, key: &str) -> Option<Vec<u8>>;

    /// Keeps a value for as long as `ttl`.
    async fn put(&self, key: &str, value: Vec<u8>, ttl: Duration);

    /// Whether the caller is the one who fetches. The right ends by itself after `lease`.
    async fn lead(&self, key: &str, lease: Duration) -> bool;

    /// Gives the right back.
    async fn resign(&self, key: &str);
}

/// How many documents this process keeps, of at most [`MAX_DOCUMENT_BYTES`](super::MAX_DOCUMENT_BYTES) each.
const MAX_KEPT: usize = 2_000;

/// Each with its end.
type Kept = HashMap<String, (DateTime<Utc>, Vec<u8>)>;

/// Documents of this process alone.
pub struct InProcess {
    clock: Arc<dyn Clock>,
    kept: Mutex<Kept>,
    leaders: Mutex<HashMap<String, Instant>>,
}

impl InProcess {
    /// None yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, kept: Mutex::default(), leaders: Mutex::default() }
    }
}

#[async_trait]
impl Documents for InProcess {
    async fn get(&self, key: &str) -> Option<Vec<u8>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (end, value) = kept.get(key)?;
        (*end > self.clock.now()).then(|| value.clone())
    }

    async fn put(&self, key: &str, value: Vec<u8>, ttl: Duration) {
        let now = self.clock.now();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MAX_KEPT {
            kept.retain(|_, (end, _)| *end > now);
        }
        // Anything can be fetched again, so a full store begins anew.
        if kept.len() >= MAX_KEPT {
            kept.clear();
        }
        kept.insert(key.to_owned(), (now + ttl, value));
    }

    async fn lead(&self, key: &str, lease: Duration) -> bool {
        let now = Instant::now();
        let mut leaders = self.leaders.lock().unwrap_or_else(PoisonError::into_inner);
        leaders.retain(|_, end| *end > now);
        if leaders.contains_key(key) {
            return false;
        }
        leaders.insert(key.to_owned(), now + lease);
        true
    }

    async fn resign(&self, key: &str) {
        let mut leaders = self.leaders.lock().unwrap_or_else(PoisonError::into_inner);
        leaders.remove(key);
    }
}

impl fmt::Debug for InProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InProcess")
    }
}
