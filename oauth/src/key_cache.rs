//! The public keys of another server, cached in this process: an identity provider or a client.

use std::fmt::Display;

use jsonwebtoken::DecodingKey;

use crate::{
    cached::{Cached, TimedOut},
    jwt::{KeySet, Unverified},
    login::provider::Deadline,
};

/// The cached keys of one issuer.
#[derive(Debug)]
pub(crate) struct KeyCache(Cached<KeySet>);

impl KeyCache {
    /// Creates an empty cache. `owner` is for the log.
    pub(crate) fn new(owner: &str) -> Self {
        Self(Cached::new(owner, "keys"))
    }

    /// Calls `verify` with the key that the token names. Fetches the keys again if it is not among them,
    /// because the issuer may have changed them; [`Cached::replace`] limits how often. `Ok(None)`: there
    /// is no such key.
    pub(crate) async fn with_key<T, E, F>(
        &self,
        token: &Unverified<'_>,
        deadline: Deadline,
        fetch: impl Fn(Deadline) -> F,
        verify: impl Fn(&DecodingKey) -> T,
    ) -> Result<Option<T>, E>
    where
        E: From<TimedOut> + Display,
        F: Future<Output = Result<KeySet, E>>,
    {
        let find = |keys: &KeySet| keys.find(token.kid.as_deref(), token.algorithm).map(&verify);
        let keys = self.0.get(deadline, &fetch).await?;
        if let Some(verified) = find(&keys) {
            return Ok(Some(verified));
        }
        let newer = self.0.replace(&keys, deadline, &fetch).await?;
        Ok(newer.as_deref().and_then(find))
    }
}
