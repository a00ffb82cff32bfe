//! The store for short-lived state: pending authorizations, pending logins at identity providers,
//! and the browser sessions of the account page.
//!
//! A store is a small trait, designed for Redis: byte values under keys, each with an expiry time,
//! and an atomic operation that takes a value so that only one caller gets it. Keys contain hashes
//! instead of secrets. A value begins with a version, so that old and new instances can read each
//! other's values when they run side by side during a deploy.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use platform::clock::Clock;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// How long a user may take between two steps of a sign-in.
pub const PENDING_TTL: Duration = Duration::from_mins(10);

/// The version byte before each value. A change of a record that old instances cannot read needs a
/// new version, and a reader for both.
const VERSION: u8 = 1;

/// The store is unavailable. The same request may succeed later.
#[derive(Debug, thiserror::Error)]
#[error("the store of pending authorizations is unavailable: {0}")]
pub struct StoreUnavailable(pub String);

/// The key of a value: `oauth:<kind>:<hash>`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Key(String);

/// A store of values that expire.
#[async_trait]
pub trait PendingStore: Send + Sync + fmt::Debug {
    /// Stores a value for `ttl`. The caller guarantees that the key is new.
    async fn put(&self, key: &Key, value: Vec<u8>, ttl: Duration) -> Result<(), StoreUnavailable>;

    /// Returns a value without removing it. `Ok(None)`: there is none, or it has expired.
    async fn peek(&self, key: &Key) -> Result<Option<Vec<u8>>, StoreUnavailable>;

    /// Removes and returns a value atomically: of several concurrent callers, one gets it.
    /// `Ok(None)`: there is none, or it has expired.
    async fn take(&self, key: &Key) -> Result<Option<Vec<u8>>, StoreUnavailable>;
}

impl Key {
    /// Builds the key of a value from its kind and the secret that it is found by. Only a hash of
    /// the secret becomes part of the key.
    pub fn new(kind: &str, secret: &str) -> Self {
        let hash = URL_SAFE_NO_PAD.encode(Sha256::digest(secret.as_bytes()));
        Self(format!("oauth:{kind}:{hash}"))
    }

    /// Returns the key as a string. It contains no secret.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A type that can be stored.
pub(crate) trait Record: Serialize + DeserializeOwned {
    /// The kind in the keys of these records.
    const KIND: &'static str;
}

/// Stores a record under a secret.
pub(crate) async fn put<R: Record>(
    store: &dyn PendingStore,
    secret: &str,
    record: &R,
    ttl: Duration,
) -> Result<(), StoreUnavailable> {
    put_as(store, R::KIND, secret, record, ttl).await
}

/// Returns the record under a secret without removing it.
pub(crate) async fn peek<R: Record>(
    store: &dyn PendingStore,
    secret: &str,
) -> Result<Option<R>, StoreUnavailable> {
    peek_as(store, R::KIND, secret).await
}

/// Removes and returns the record under a secret: of several concurrent callers, one gets it.
pub(crate) async fn take<R: Record>(
    store: &dyn PendingStore,
    secret: &str,
) -> Result<Option<R>, StoreUnavailable> {
    take_as(store, R::KIND, secret).await
}

/// Stores a record under a secret, as one of a kind that the type does not determine.
pub(crate) async fn put_as<R: Serialize>(
    store: &dyn PendingStore,
    kind: &str,
    secret: &str,
    record: &R,
    ttl: Duration,
) -> Result<(), StoreUnavailable> {
    let mut value = vec![VERSION];
    serde_json::to_writer(&mut value, record)
        .map_err(|error| StoreUnavailable(format!("could not serialize a record: {error}")))?;
    store.put(&Key::new(kind, secret), value, ttl).await
}

/// Returns the record of this kind under a secret without removing it.
pub(crate) async fn peek_as<R: DeserializeOwned>(
    store: &dyn PendingStore,
    kind: &str,
    secret: &str,
) -> Result<Option<R>, StoreUnavailable> {
    Ok(store.peek(&Key::new(kind, secret)).await?.and_then(|value| read(kind, &value)))
}

/// Removes and returns the record of this kind under a secret: of several concurrent callers, one
/// gets it.
pub(crate) async fn take_as<R: DeserializeOwned>(
    store: &dyn PendingStore,
    kind: &str,
    secret: &str,
) -> Result<Option<R>, StoreUnavailable> {
    Ok(store.take(&Key::new(kind, secret)).await?.and_then(|value| read(kind, &value)))
}

/// Decodes a record. `None`: it cannot be read; it is treated like a missing one, so that the user
/// starts again.
fn read<R: DeserializeOwned>(kind: &str, value: &[u8]) -> Option<R> {
    let (VERSION, json) = value.split_first().map(|(version, json)| (*version, json))? else {
        tracing::warn!(kind, "Pending record has an unknown version");
        return None;
    };
    serde_json::from_slice(json)
        .inspect_err(|error| tracing::warn!(kind, %error, "Pending record is damaged"))
        .ok()
}

/// Generates a secret of 256 bits in base64url: an id of a pending flow, or a value that binds the
/// flow to a browser.
pub(crate) fn new_secret() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())
}

/// The SHA-256 hash of a secret that binds a flow to a browser. Only the hash is stored.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct SecretHash([u8; 32]);

impl SecretHash {
    /// Hashes a secret.
    pub(crate) fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret.as_bytes()).into())
    }

    /// Returns whether `presented` is the secret, in constant time.
    pub(crate) fn is_of(&self, presented: Option<&str>) -> bool {
        presented.is_some_and(|it| Self::of(it).0.ct_eq(&self.0).into())
    }
}

/// The maximum number of values in the store of this process, of about a kilobyte each (more only
/// with the longest `state`). The rate limits let one network have a few hundred at a time.
const MAX_VALUES: usize = 50_000;

/// The values, each with its expiry time.
type Values = HashMap<Key, (DateTime<Utc>, Vec<u8>)>;

/// A store in the memory of this process.
pub struct InProcess {
    clock: Arc<dyn Clock>,
    values: Mutex<Values>,
}

impl InProcess {
    /// Creates an empty store.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, values: Mutex::default() }
    }

    fn with<T>(&self, then: impl FnOnce(&mut Values, DateTime<Utc>) -> T) -> T {
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        then(&mut values, self.clock.now())
    }
}

#[async_trait]
impl PendingStore for InProcess {
    async fn put(&self, key: &Key, value: Vec<u8>, ttl: Duration) -> Result<(), StoreUnavailable> {
        self.with(|values, now| {
            if values.len() >= MAX_VALUES {
                values.retain(|_, (end, _)| *end > now);
            }
            // A pending value is never evicted for a new one.
            if values.len() >= MAX_VALUES {
                return Err(StoreUnavailable("it is full".into()));
            }
            values.insert(key.clone(), (now + ttl, value));
            Ok(())
        })
    }

    async fn peek(&self, key: &Key) -> Result<Option<Vec<u8>>, StoreUnavailable> {
        Ok(self.with(|values, now| {
            let (end, value) = values.get(key)?;
            (*end > now).then(|| value.clone())
        }))
    }

    async fn take(&self, key: &Key) -> Result<Option<Vec<u8>>, StoreUnavailable> {
        Ok(self.with(|values, now| {
            let (end, value) = values.remove(key)?;
            (end > now).then_some(value)
        }))
    }
}

impl fmt::Debug for InProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InProcess")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use platform::clock::MockClock;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Note {
        text: String,
    }

    impl Record for Note {
        const KIND: &'static str = "note";
    }

    fn store() -> (InProcess, Arc<MockClock>) {
        let clock = Arc::new(MockClock::at(DateTime::from_timestamp(1_700_000_000, 0).unwrap()));
        (InProcess::new(Arc::clone(&clock) as _), clock)
    }

    #[tokio::test]
    async fn a_record_can_be_peeked_repeatedly_and_taken_once() {
        let (store, _) = store();
        let note = Note { text: "x".into() };
        put(&store, "secret", &note, PENDING_TTL).await.unwrap();
        for _ in 0..3 {
            assert_eq!(peek::<Note>(&store, "secret").await.unwrap().as_ref(), Some(&note));
        }
        assert_eq!(peek::<Note>(&store, "other").await.unwrap(), None);
        assert_eq!(take::<Note>(&store, "secret").await.unwrap(), Some(note));
        assert_eq!(take::<Note>(&store, "secret").await.unwrap(), None);
        assert_eq!(peek::<Note>(&store, "secret").await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_record_expires() {
        let (store, clock) = store();
        let note = Note { text: "x".into() };
        put(&store, "a", &note, PENDING_TTL).await.unwrap();
        clock.advance(Duration::from_secs(599));
        assert!(peek::<Note>(&store, "a").await.unwrap().is_some());
        clock.advance(Duration::from_secs(1));
        assert!(peek::<Note>(&store, "a").await.unwrap().is_none());
        assert!(take::<Note>(&store, "a").await.unwrap().is_none());
    }

    #[tokio::test]
    async fn an_unreadable_record_counts_as_missing() {
        let (store, _) = store();
        let key = Key::new(Note::KIND, "a");
        for value in [vec![], vec![9, b'{', b'}'], vec![VERSION], b"\x01{}".to_vec()] {
            store.put(&key, value, PENDING_TTL).await.unwrap();
            assert!(peek::<Note>(&store, "a").await.unwrap().is_none());
        }
    }

    #[tokio::test]
    async fn a_full_store_refuses_new_values() {
        let (store, clock) = store();
        for number in 0..MAX_VALUES {
            let key = Key::new("n", &number.to_string());
            store.put(&key, vec![], PENDING_TTL).await.unwrap();
        }
        let one_more = Key::new("n", "one more");
        assert!(store.put(&one_more, vec![], PENDING_TTL).await.is_err());
        assert!(store.peek(&Key::new("n", "0")).await.unwrap().is_some());
        clock.advance(PENDING_TTL);
        assert!(store.put(&one_more, vec![], PENDING_TTL).await.is_ok());
    }

    #[test]
    fn keys_and_hashes_contain_no_secret() {
        let key = Key::new("pend", "hunter2");
        assert!(key.as_str().starts_with("oauth:pend:") && !key.as_str().contains("hunter2"));
        assert!(SecretHash::of("a").is_of(Some("a")));
        assert!(!SecretHash::of("a").is_of(Some("b")));
        assert!(!SecretHash::of("a").is_of(None));
        assert_eq!(new_secret().len(), 43);
        assert_ne!(new_secret(), new_secret());
    }
}
