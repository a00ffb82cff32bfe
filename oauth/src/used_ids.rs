//! The record of the ids (`jti`) of DPoP proofs ([`crate::dpop`]) and of assertions
//! ([`crate::replay`]) that were used, so that each is accepted once.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use platform::clock::Clock;
use sha2::{Digest as _, Sha256};

/// What an id belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IdKind {
    /// A DPoP proof.
    Proof,
    /// An assertion.
    Assertion,
}

/// An id, distinct from those of other kinds and issuers.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct UsedId {
    kind: IdKind,
    hash: [u8; 32],
}

/// The record cannot be read or written. Another proof or assertion may be accepted later.
#[derive(Debug, thiserror::Error)]
#[error("the record of used proofs and assertions is unavailable: {0}")]
pub struct UsedIdsUnavailable(pub String);

/// A record of used ids.
#[async_trait]
pub trait UsedIds: Send + Sync + fmt::Debug {
    /// Records an id for `ttl`. Returns whether it was new: `true` for exactly one of several
    /// concurrent callers.
    async fn record(&self, id: &UsedId, ttl: Duration) -> Result<bool, UsedIdsUnavailable>;

    /// Removes an id, which is new again.
    async fn forget(&self, id: &UsedId) -> Result<(), UsedIdsUnavailable>;
}

impl UsedId {
    /// Returns the id `jti` of an issuer: the thumbprint of a key, a URL or a client id. None of them
    /// contains a space.
    pub fn new(kind: IdKind, issuer: &str, jti: &str) -> Self {
        let hash = Sha256::new().chain_update(issuer).chain_update(" ").chain_update(jti);
        Self { kind, hash: hash.finalize().into() }
    }
}

/// The key in a store.
impl fmt::Display for UsedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            IdKind::Proof => "dpop",
            IdKind::Assertion => "oauth:jti",
        };
        write!(f, "{kind}:{}", URL_SAFE_NO_PAD.encode(self.hash))
    }
}

impl fmt::Debug for UsedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The maximum number of ids in the record of this process, of about 100 bytes each. Those of proofs
/// are kept for about a minute, so this is enough for 1,000 requests per second.
const MAX_IDS: usize = 100_000;

/// A record in the memory of this process.
pub struct InProcess {
    clock: Arc<dyn Clock>,
    /// The ids, each with the time until which it is kept.
    ids: Mutex<HashMap<UsedId, DateTime<Utc>>>,
}

impl InProcess {
    /// Creates an empty record.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, ids: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<UsedId, DateTime<Utc>>> {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl UsedIds for InProcess {
    async fn record(&self, id: &UsedId, ttl: Duration) -> Result<bool, UsedIdsUnavailable> {
        let now = self.clock.now();
        let mut ids = self.lock();
        if ids.get(id).is_some_and(|end| *end > now) {
            return Ok(false);
        }
        if ids.len() >= MAX_IDS {
            ids.retain(|_, end| *end > now);
        }
        // No id is forgotten before its time: it could be used again.
        if ids.len() >= MAX_IDS {
            return Err(UsedIdsUnavailable("it is full".to_owned()));
        }
        ids.insert(*id, now + ttl);
        Ok(true)
    }

    async fn forget(&self, id: &UsedId) -> Result<(), UsedIdsUnavailable> {
        self.lock().remove(id);
        Ok(())
    }
}

impl fmt::Debug for InProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InProcess")
    }
}

#[cfg(test)]
mod tests {
    use platform::clock::MockClock;

    use super::*;

    fn proof(jti: &str) -> UsedId {
        UsedId::new(IdKind::Proof, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs", jti)
    }

    #[tokio::test]
    async fn a_full_record_accepts_no_proof_until_one_has_expired() {
        let clock = Arc::new(MockClock::at(DateTime::UNIX_EPOCH));
        let record = InProcess::new(Arc::clone(&clock) as _);
        let ttl = Duration::from_mins(1);
        for number in 0..MAX_IDS {
            assert!(record.record(&proof(&number.to_string()), ttl).await.unwrap());
        }
        let one_more = proof("one more");
        assert!(record.record(&one_more, ttl).await.is_err());
        assert!(!record.record(&proof("0"), ttl).await.unwrap());
        clock.advance(ttl);
        assert!(record.record(&one_more, ttl).await.unwrap());
        assert_eq!(record.lock().len(), 1);
    }
}
