//! Publishing and receiving signals.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{Signal, StoreError, Subscription, Topic};

/// Tells one version of what a server offers from another: two instances of the same version have
/// the same. Empty if it is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogDigest {
    /// Of all tools.
    pub tools: String,
    /// Of all prompts.
    pub prompts: String,
}

/// Signals between instances.
#[async_trait]
pub trait Bus: Send + Sync {
    /// Tells everyone who listens now.
    async fn publish(&self, signal: Signal) -> Result<(), StoreError>;
    /// Tells several things at once, in any order. Takes no longer than one does.
    async fn publish_all(&self, signals: Vec<Signal>) -> Result<(), StoreError> {
        let told = signals.into_iter().map(|it| self.publish(it));
        futures_util::future::join_all(told).await.into_iter().collect()
    }
    /// Listens from now on.
    async fn subscribe(&self, topic: Topic) -> Result<Subscription, StoreError>;
    /// Notes what the newest instance offers, and gives what the one before did, in one step.
    async fn announce(&self, catalog: &CatalogDigest) -> Result<Option<CatalogDigest>, StoreError>;
}
