//! Client metadata documents. They can be fetched again, so failures are only logged: the instance
//! then fetches them itself.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use mcp::store::redis::Connection;
use platform::clock::Clock;
use redis::{FromRedisValue, Pipeline};
use sha2::{Digest as _, Sha256};

use super::{millis, unwrap, wrap};
use crate::cimd::Documents;

/// A store in Redis of documents that all instances share.
pub struct SharedDocuments {
    connection: Connection,
    clock: Arc<dyn Clock>,
}

impl SharedDocuments {
    /// Creates a store that uses this connection.
    pub fn new(connection: Connection, clock: Arc<dyn Clock>) -> Self {
        Self { connection, clock }
    }

    /// Builds the key from the hash of the document's URL, which may be long and is chosen by
    /// clients.
    fn key(&self, key: &str) -> String {
        let hash = URL_SAFE_NO_PAD.encode(Sha256::digest(key));
        format!("{}cimd:{hash}", self.connection.prefix())
    }

    async fn run<T: FromRedisValue>(
        &self,
        operation: &'static str,
        command: &Pipeline,
    ) -> Option<T> {
        match self.connection.pipeline(operation, command).await {
            Ok((found,)) => found,
            Err(error) => {
                tracing::warn!(
                    dependency = error.dependency(), %error,
                    "Could not share client documents; each instance uses its own"
                );
                None
            }
        }
    }
}

#[async_trait]
impl Documents for SharedDocuments {
    async fn get(&self, key: &str) -> Option<Vec<u8>> {
        let found: Vec<u8> = self.run("document_get", redis::pipe().get(self.key(key))).await?;
        unwrap(&found, self.clock.now())
    }

    async fn put(&self, key: &str, value: Vec<u8>, ttl: Duration) {
        let value = wrap(&value, self.clock.now() + ttl);
        let mut set = redis::pipe();
        set.cmd("SET").arg(self.key(key)).arg(value).arg("PX").arg(millis(ttl));
        self.run::<()>("document_put", &set).await;
    }
}

impl fmt::Debug for SharedDocuments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedDocuments")
    }
}
