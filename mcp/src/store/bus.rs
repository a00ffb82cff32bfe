//! Publishing and receiving signals.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{Signal, StoreError, Subscription, Topic};

/// Digests of a server's lists. Two instances of the same version have equal digests. Empty:
/// unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogDigest {
    /// The digest of the tool list.
    pub tools: String,
    /// The digest of the prompt list.
    pub prompts: String,
}

/// Publishes signals to all instances and receives them.
#[async_trait]
pub trait Bus: Send + Sync {
    /// Sends a signal to the current subscribers of its topic.
    async fn publish(&self, signal: Signal) -> Result<(), StoreError>;
    /// Publishes several signals concurrently, in any order.
    async fn publish_all(&self, signals: Vec<Signal>) -> Result<(), StoreError> {
        let publishing = signals.into_iter().map(|signal| self.publish(signal));
        futures_util::future::join_all(publishing).await.into_iter().collect()
    }
    /// Subscribes to a topic. When this returns, all later signals are received.
    async fn subscribe(&self, topic: Topic) -> Result<Subscription, StoreError>;
    /// Returns for each topic, in order, whether a process is subscribed to it now.
    ///
    /// The operating system closes the connection of a process that ends, even by `SIGKILL`, and
    /// keeps that of a process that is stopped or busy. After a restart of the store, `false` until
    /// the subscriber has connected again. The bus in memory knows only the subscriptions of its own
    /// process.
    async fn have_subscribers(&self, topics: &[Topic]) -> Result<Vec<bool>, StoreError>;
    /// Stores the digest of the newest instance and returns the previous one, atomically.
    /// `Ok(None)`: there was none.
    async fn replace_catalog(
        &self,
        catalog: &CatalogDigest,
    ) -> Result<Option<CatalogDigest>, StoreError>;
}
