//! The stores in memory, for a single process: the embedded mode and tests.
//!
//! Entries are bounded and expire as they do in Redis. One mutex protects everything; it is never
//! held across an await.

mod questions;
mod sessions;
mod state;
mod stream_log;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

pub use self::state::MAX_SESSIONS;
use self::state::Memory;
use super::{Bus, CatalogDigest, Signal, StoreError, Stores, Subscription, Topic};

impl Stores {
    /// Creates stores that live as long as the process. `session_ttl`: how long an idle session is
    /// kept.
    pub fn in_memory(session_ttl: Duration) -> Self {
        let memory = Arc::new(Memory::new(session_ttl));
        Self {
            sessions: memory.clone(),
            questions: memory.clone(),
            log: memory.clone(),
            bus: memory,
        }
    }
}

#[async_trait]
impl Bus for Memory {
    async fn publish(&self, signal: Signal) -> Result<(), StoreError> {
        self.fanout.deliver(signal);
        Ok(())
    }

    async fn subscribe(&self, topic: Topic) -> Result<Subscription, StoreError> {
        Ok(self.fanout.subscribe(topic))
    }

    async fn replace_catalog(
        &self,
        catalog: &CatalogDigest,
    ) -> Result<Option<CatalogDigest>, StoreError> {
        Ok(self.state().announced.replace(catalog.clone()))
    }
}
