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

use self::state::Memory;
pub use self::state::{MAX_SESSIONS, SignalSink};
use super::{Bus, CatalogDigest, Signal, StoreError, Stores, Subscription, Topic};

impl Stores {
    /// Creates stores that live as long as the process. `session_ttl`: how long an idle session is
    /// kept.
    pub fn in_memory(session_ttl: Duration) -> Self {
        MemoryStores::new(session_ttl, None).stores()
    }
}

/// Stores in memory whose contents can be counted, for a simulation of several instances.
#[derive(Clone)]
pub struct MemoryStores(Arc<Memory>);

impl MemoryStores {
    /// Creates stores. `session_ttl`: how long an idle session is kept. `sink`: receives all signals;
    /// `None`: the subscribers of the bus of these stores receive them.
    pub fn new(session_ttl: Duration, sink: Option<SignalSink>) -> Self {
        Self(Arc::new(Memory::new(session_ttl, sink)))
    }

    /// The stores.
    pub fn stores(&self) -> Stores {
        let memory = &self.0;
        Stores {
            sessions: memory.clone(),
            questions: memory.clone(),
            log: memory.clone(),
            bus: memory.clone(),
        }
    }

    /// The number of entries that have not expired: sessions, waiting calls and streams.
    pub fn entries(&self) -> usize {
        self.0.entries()
    }
}

#[async_trait]
impl Bus for Memory {
    async fn publish(&self, signal: Signal) -> Result<(), StoreError> {
        self.deliver(signal);
        Ok(())
    }

    async fn subscribe(&self, topic: Topic) -> Result<Subscription, StoreError> {
        Ok(self.fanout.subscribe(topic))
    }

    async fn have_subscribers(&self, topics: &[Topic]) -> Result<Vec<bool>, StoreError> {
        Ok(topics.iter().map(|topic| self.fanout.has_subscriber(topic)).collect())
    }

    async fn replace_catalog(
        &self,
        catalog: &CatalogDigest,
    ) -> Result<Option<CatalogDigest>, StoreError> {
        Ok(self.state().announced.replace(catalog.clone()))
    }
}
