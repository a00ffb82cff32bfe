//! Documents of clients, and who fetches one now. All of it can be had again, so a failure is never
//! reported: the instance goes on by itself.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use mcp::store::redis::Connection;
use platform::clock::Clock;
use redis::{FromRedisValue, Pipeline, Script};
use sha2::{Digest as _, Sha256};

use super::{FORMAT, millis, unwrap, wrap};
use crate::cimd::Documents;

/// Documents that all instances share.
pub struct KeptDocuments {
    connection: Connection,
    clock: Arc<dyn Clock>,
    /// What this instance leads as: its right may have passed to another one meanwhile.
    name: String,
    resign: Script,
}

impl KeptDocuments {
    /// A store over this connection.
    pub fn new(connection: Connection, clock: Arc<dyn Clock>) -> Self {
        let name = format!("{}{:032x}", char::from(FORMAT), rand::random::<u128>());
        let resign = Script::new(include_str!("documents_resign.lua"));
        Self { connection, clock, name, resign }
    }

    /// The address of a document may be long, and is chosen by others: its hash stands in the key.
    fn key(&self, key: &str) -> String {
        let hash = URL_SAFE_NO_PAD.encode(Sha256::digest(key));
        format!("{}cimd:{hash}", self.connection.prefix())
    }

    fn lead_key(&self, key: &str) -> String {
        format!("{}:lead", self.key(key))
    }

    async fn run<T: FromRedisValue>(&self, command: &Pipeline) -> Option<T> {
        match self.connection.pipeline(command).await {
            Ok((found,)) => found,
            Err(error) => {
                tracing::warn!(
                    dependency = error.dependency(), error = %error,
                    "Documents are not shared now: {error}"
                );
                None
            }
        }
    }
}

#[async_trait]
impl Documents for KeptDocuments {
    async fn get(&self, key: &str) -> Option<Vec<u8>> {
        let found: Vec<u8> = self.run(redis::pipe().get(self.key(key))).await?;
        unwrap(&found, self.clock.now())
    }

    async fn put(&self, key: &str, value: Vec<u8>, ttl: Duration) {
        let value = wrap(&value, self.clock.now() + ttl);
        let mut set = redis::pipe();
        set.cmd("SET").arg(self.key(key)).arg(value).arg("PX").arg(millis(ttl));
        self.run::<()>(&set).await;
    }

    async fn lead(&self, key: &str, lease: Duration) -> bool {
        let mut set = redis::pipe();
        set.cmd("SET").arg(self.lead_key(key)).arg(&self.name).arg("NX").arg("PX");
        set.arg(millis(lease));
        match self.connection.pipeline::<(bool,)>(&set).await {
            Ok((leads,)) => leads,
            Err(error) => {
                tracing::warn!(
                    dependency = error.dependency(), error = %error,
                    "Each instance fetches for itself: {error}"
                );
                true
            }
        }
    }

    async fn resign(&self, key: &str) {
        let mut resign = self.resign.prepare_invoke();
        resign.key(self.lead_key(key)).arg(&self.name);
        if let Err(error) = self.connection.script::<()>(&resign).await {
            // It ends by itself.
            tracing::debug!(error = %error, "The right to fetch was not given back: {error}");
        }
    }
}

impl fmt::Debug for KeptDocuments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeptDocuments")
    }
}
