//! The store of fetched client metadata documents.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use platform::clock::Clock;

/// A store of fetched documents, and of notes about failed fetches, that instances share. Best
/// effort: when the store is unavailable, each instance fetches documents itself.
#[async_trait]
pub trait Documents: Send + Sync + fmt::Debug {
    /// Returns the value of a key. `None`: there is none, it has expired, or the store is
    /// unavailable.
    async fn get(&self, key: &str) -> Option<Vec<u8>>;

    /// Stores a value for `ttl`.
    async fn put(&self, key: &str, value: Vec<u8>, ttl: Duration);
}

/// The maximum number of entries in the store of this process, of at most
/// [`MAX_DOCUMENT_BYTES`](super::MAX_DOCUMENT_BYTES) each.
const MAX_ENTRIES: usize = 2_000;

/// The values, each with its expiry time.
type Entries = HashMap<String, (DateTime<Utc>, Vec<u8>)>;

/// A store in the memory of this process.
pub struct InProcess {
    clock: Arc<dyn Clock>,
    entries: Mutex<Entries>,
}

impl InProcess {
    /// Creates an empty store.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, entries: Mutex::default() }
    }
}

#[async_trait]
impl Documents for InProcess {
    async fn get(&self, key: &str) -> Option<Vec<u8>> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let (end, value) = entries.get(key)?;
        (*end > self.clock.now()).then(|| value.clone())
    }

    async fn put(&self, key: &str, value: Vec<u8>, ttl: Duration) {
        let now = self.clock.now();
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= MAX_ENTRIES {
            entries.retain(|_, (end, _)| *end > now);
        }
        // Everything can be fetched again, so a full store is cleared.
        if entries.len() >= MAX_ENTRIES {
            entries.clear();
        }
        entries.insert(key.to_owned(), (now + ttl, value));
    }
}

impl fmt::Debug for InProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InProcess")
    }
}
