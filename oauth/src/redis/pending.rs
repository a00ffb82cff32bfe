//! Pending sign-ins: one string each, taken with `GETDEL`. Encrypted, because they contain the `state`
//! of clients and this server's PKCE verifier.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use mcp::{ContentKeys, store::redis::Connection};
use platform::clock::Clock;
use redis::Pipeline;

use super::{SEALED, header, millis, unexpired, unwrap};
use crate::pending::{Key, PendingStore, StoreUnavailable};

/// A store of pending sign-ins that all instances share.
pub struct Pending {
    connection: Connection,
    clock: Arc<dyn Clock>,
    keys: ContentKeys,
}

impl Pending {
    /// Creates a store that uses this connection, and encrypts with these keys.
    pub fn new(connection: Connection, clock: Arc<dyn Clock>, keys: ContentKeys) -> Self {
        Self { connection, clock, keys }
    }

    fn key(&self, key: &Key) -> String {
        format!("{}{}", self.connection.prefix(), key.as_str())
    }

    async fn read(
        &self,
        key: &Key,
        operation: &'static str,
        command: &Pipeline,
    ) -> Result<Option<Vec<u8>>, StoreUnavailable> {
        let (found,): (Option<Vec<u8>>,) = self.connection.pipeline(operation, command).await?;
        Ok(found.and_then(|value| self.open(key, &value)))
    }

    fn seal(&self, key: &Key, value: &[u8], ttl: Duration) -> Vec<u8> {
        let mut sealed = header(SEALED, self.clock.now() + ttl);
        self.keys.seal_to(&mut sealed, &place(key), value);
        sealed
    }

    /// Decodes a value; an older version stored it in plain text. `None`: it has expired, or cannot be
    /// read.
    fn open(&self, key: &Key, value: &[u8]) -> Option<Vec<u8>> {
        let now = self.clock.now();
        let Some(timed) = value.strip_prefix(&[SEALED]) else {
            return unwrap(value, now);
        };
        let opened = self.keys.open(&place(key), unexpired(timed, now)?);
        opened
            .inspect_err(|error| {
                tracing::error!(%error, "Could not decrypt a pending sign-in; it must be started again");
            })
            .ok()
    }
}

/// The key for which a value is encrypted, and for no other one.
fn place(key: &Key) -> String {
    format!("pending/{}", key.as_str())
}

#[async_trait]
impl PendingStore for Pending {
    async fn put(&self, key: &Key, value: Vec<u8>, ttl: Duration) -> Result<(), StoreUnavailable> {
        let mut set = redis::pipe();
        set.cmd("SET")
            .arg(self.key(key))
            .arg(self.seal(key, &value, ttl))
            .arg("PX")
            .arg(millis(ttl))
            .ignore();
        Ok(self.connection.pipeline("pending_put", &set).await?)
    }

    async fn peek(&self, key: &Key) -> Result<Option<Vec<u8>>, StoreUnavailable> {
        self.read(key, "pending_peek", redis::pipe().get(self.key(key))).await
    }

    async fn take(&self, key: &Key) -> Result<Option<Vec<u8>>, StoreUnavailable> {
        self.read(key, "pending_take", redis::pipe().get_del(self.key(key))).await
    }
}

impl From<mcp::StoreError> for StoreUnavailable {
    fn from(error: mcp::StoreError) -> Self {
        Self(error.to_string())
    }
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pending")
    }
}
