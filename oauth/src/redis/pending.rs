//! Pending sign-ins: one string each, taken with `GETDEL`.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use mcp::store::redis::Connection;
use platform::clock::Clock;
use redis::Pipeline;

use super::{millis, unwrap, wrap};
use crate::pending::{Key, PendingStore, StoreUnavailable};

/// A store of pending sign-ins that all instances share.
pub struct Pending {
    connection: Connection,
    clock: Arc<dyn Clock>,
}

impl Pending {
    /// Creates a store that uses this connection.
    pub fn new(connection: Connection, clock: Arc<dyn Clock>) -> Self {
        Self { connection, clock }
    }

    fn key(&self, key: &Key) -> String {
        format!("{}{}", self.connection.prefix(), key.as_str())
    }

    async fn read(
        &self,
        operation: &'static str,
        command: &Pipeline,
    ) -> Result<Option<Vec<u8>>, StoreUnavailable> {
        let (found,): (Option<Vec<u8>>,) = self.connection.pipeline(operation, command).await?;
        Ok(found.and_then(|value| unwrap(&value, self.clock.now())))
    }
}

#[async_trait]
impl PendingStore for Pending {
    async fn put(&self, key: &Key, value: Vec<u8>, ttl: Duration) -> Result<(), StoreUnavailable> {
        let value = wrap(&value, self.clock.now() + ttl);
        let mut set = redis::pipe();
        set.cmd("SET").arg(self.key(key)).arg(value).arg("PX").arg(millis(ttl)).ignore();
        Ok(self.connection.pipeline("pending_put", &set).await?)
    }

    async fn peek(&self, key: &Key) -> Result<Option<Vec<u8>>, StoreUnavailable> {
        self.read("pending_peek", redis::pipe().get(self.key(key))).await
    }

    async fn take(&self, key: &Key) -> Result<Option<Vec<u8>>, StoreUnavailable> {
        self.read("pending_take", redis::pipe().get_del(self.key(key))).await
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
