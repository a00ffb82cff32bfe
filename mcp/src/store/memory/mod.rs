//! The stores of one process: for the embedded mode and for tests.
//!
//! Everything is bounded and expires as it would in Redis. One lock holds it all; nothing waits
//! while holding it.

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
    /// Stores that end with the process. `session_ttl`: how long an idle session is kept.
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

    async fn announce(&self, catalog: &CatalogDigest) -> Result<Option<CatalogDigest>, StoreError> {
        Ok(self.state().announced.replace(catalog.clone()))
    }
}
