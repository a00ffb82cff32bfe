//! The public keys of service clients: registered ones, and those at a `jwks_uri`, which are cached in
//! this process.
//!
//! The URL comes from an operator, and is fetched like all URLs from outside ([`platform::fetch`]). A
//! key set is fetched again after an hour, and when an assertion names a key that is not in it, at most
//! once a minute; further limits apply per host and in total, across all instances.

use std::{fmt, sync::Arc, time::Duration};

use jsonwebtoken::DecodingKey;
use mcp::json::unique_object;
use moka::sync::Cache;
use platform::fetch::{Address, Bounds, Fetcher};

use crate::{
    cached::TimedOut,
    client::PublicKeys,
    jwt::{KeySet, Unverified},
    key_cache::KeyCache,
    limits::{Limiter, METADATA_KNOWN_ALL, METADATA_KNOWN_HOST, Verdict},
    login::provider::Deadline,
};

/// The maximum size of a key set, in bytes.
pub(super) const MAX_BYTES: usize = 64 * 1024;

/// The maximum number of clients whose keys are cached. Those of others are fetched at each use.
const MAX_CACHED: u64 = 1_000;

/// How long the keys of a client without requests are cached.
const IDLE: Duration = Duration::from_hours(24);

/// Finds the keys of clients.
pub(crate) struct ClientKeys {
    fetcher: Arc<Fetcher>,
    limiter: Arc<dyn Limiter>,
    own_host: String,
    cached: Cache<String, Arc<KeyCache>>,
}

/// Why an assertion could not be verified.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeyError {
    /// The client has no such key.
    #[error("the key is unknown")]
    Unknown,
    #[error("the signature is wrong")]
    Signature,
    /// The keys could not be fetched; contains the reason.
    #[error("{0}")]
    Fetch(String),
}

impl From<TimedOut> for KeyError {
    fn from(_: TimedOut) -> Self {
        Self::Fetch("no response in time".to_owned())
    }
}

impl ClientKeys {
    /// Creates an empty cache. `own_host` is the host of this server.
    pub(crate) fn new(fetcher: Arc<Fetcher>, limiter: Arc<dyn Limiter>, own_host: &str) -> Self {
        let cached = Cache::builder().max_capacity(MAX_CACHED).time_to_idle(IDLE).build();
        Self { fetcher, limiter, own_host: own_host.to_owned(), cached }
    }

    /// Verifies the signature of an assertion with a key of its client.
    pub(super) async fn verify(
        &self,
        keys: &PublicKeys,
        token: &Unverified<'_>,
    ) -> Result<(), KeyError> {
        let verify = |key: &DecodingKey| token.has_valid_signature(key);
        let is_valid = match keys {
            PublicKeys::Registered(document) => {
                let keys = document.as_object().and_then(KeySet::read);
                let find =
                    |keys: &KeySet| keys.find(token.kid.as_deref(), token.algorithm).map(verify);
                keys.as_ref().and_then(find)
            }
            PublicKeys::At(uri) => {
                let cached = self.cached.get_with_by_ref(uri, || Arc::new(KeyCache::new(uri)));
                let fetch = |deadline| self.fetch(uri, deadline);
                cached.with_key(token, Deadline::start(), fetch, verify).await?
            }
        };
        match is_valid {
            Some(true) => Ok(()),
            Some(false) => Err(KeyError::Signature),
            None => Err(KeyError::Unknown),
        }
    }

    async fn fetch(&self, uri: &str, deadline: Deadline) -> Result<KeySet, KeyError> {
        let failed = |why: &dyn fmt::Display| KeyError::Fetch(why.to_string());
        let address = Address::parse(uri, &self.own_host).map_err(|why| failed(&why))?;
        for (bucket, key) in [(&METADATA_KNOWN_HOST, address.host()), (&METADATA_KNOWN_ALL, "all")]
        {
            if let Verdict::Refused { .. } = self.limiter.check(bucket, key).await {
                return Err(failed(&"the rate limit for fetching documents is exceeded"));
            }
        }
        let accept = "application/jwk-set+json, application/json";
        let bounds = Bounds { time: deadline.left(), bytes: MAX_BYTES, accept };
        let answer =
            self.fetcher.get(address.as_str(), bounds).await.map_err(|why| failed(&why))?;
        let body = answer.body().await.map_err(|why| failed(&why))?;
        let keys = unique_object(&body).ok().and_then(|document| KeySet::read(&document));
        keys.ok_or_else(|| failed(&"the document is not a JWK Set"))
    }
}

impl fmt::Debug for ClientKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientKeys")
    }
}
