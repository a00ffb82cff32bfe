//! Used ids of proofs and assertions: one key each, which only the first caller can set.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use mcp::store::redis::Connection;

use super::{FORMAT, millis};
use crate::used_ids::{UsedId, UsedIds, UsedIdsUnavailable};

/// A record of used ids that all instances share.
pub struct SharedUsedIds {
    connection: Connection,
}

impl SharedUsedIds {
    /// Creates a record that uses this connection.
    pub fn new(connection: Connection) -> Self {
        Self { connection }
    }

    fn key(&self, id: &UsedId) -> String {
        format!("{}{id}", self.connection.prefix())
    }
}

#[async_trait]
impl UsedIds for SharedUsedIds {
    async fn record(&self, id: &UsedId, ttl: Duration) -> Result<bool, UsedIdsUnavailable> {
        let mut set = redis::pipe();
        set.cmd("SET").arg(self.key(id)).arg(&[FORMAT]).arg("NX").arg("PX").arg(millis(ttl));
        // `None`: the key was set already.
        let (done,): (Option<String>,) = self.connection.pipeline("used_id_record", &set).await?;
        Ok(done.is_some())
    }

    async fn forget(&self, id: &UsedId) -> Result<(), UsedIdsUnavailable> {
        let mut delete = redis::pipe();
        delete.del(self.key(id)).ignore();
        Ok(self.connection.pipeline("used_id_forget", &delete).await?)
    }
}

impl From<mcp::StoreError> for UsedIdsUnavailable {
    fn from(error: mcp::StoreError) -> Self {
        Self(error.to_string())
    }
}

impl fmt::Debug for SharedUsedIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedUsedIds")
    }
}
