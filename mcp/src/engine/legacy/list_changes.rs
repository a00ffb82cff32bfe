//! A deploy may change what is offered: clients that have a list of it are told.
//!
//! Every instance has a digest of its lists. When it starts, it leaves it in the shared store and
//! takes the one that the instance before it has left; if they differ, everyone who listens now
//! hears of it, on all instances. An instance that starts again with the same lists says nothing, so
//! a rolling deploy is told about as often as old and new ones take turns in starting, which ends
//! with the deploy.
//!
//! Who was not listening, or asked an old instance for the new list, is found by the session: it
//! remembers which lists its client has, and the follower of its standalone stream compares.

use std::{sync::Arc, time::Duration};

use crate::{
    engine::{Inner, notifications},
    store::{CatalogDigest, Session, SessionId, Signal, StoreError},
};

/// The pause before a store that is away is tried again.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// How often it is tried. If the store is away for longer, sessions find out by themselves.
const ATTEMPTS: usize = 300;

/// Tells the other instances what this one offers.
pub(in crate::engine) fn announce(engine: &Arc<Inner>) {
    let weak = Arc::downgrade(engine);
    tokio::spawn(async move {
        for _ in 0..ATTEMPTS {
            let Some(engine) = weak.upgrade() else {
                return;
            };
            match engine.stores.bus.announce(&engine.digest).await {
                Ok(Some(before)) => {
                    for signal in changes(&before, &engine.digest) {
                        tracing::info!("This version offers something else than the one before");
                        engine.publish(signal).await;
                    }
                    return;
                }
                Ok(None) => return,
                Err(error) => {
                    tracing::debug!(error = %error, "The catalog could not be announced: {error}");
                }
            }
            drop(engine);
            tokio::time::sleep(RETRY_DELAY).await;
        }
    });
}

/// What a client that has the lists of `known` has to hear.
fn changes(known: &CatalogDigest, ours: &CatalogDigest) -> Vec<Signal> {
    let tools = (known.tools != ours.tools).then_some(Signal::ToolListChanged);
    let prompts = (known.prompts != ours.prompts).then_some(Signal::PromptListChanged);
    tools.into_iter().chain(prompts).collect()
}

impl Inner {
    /// Tells a session, on its standalone stream, that its client's lists are not ours. Once: from
    /// then on the client counts as having ours.
    pub(in crate::engine) async fn send_list_changes(
        &self,
        id: &SessionId,
        session: &Session,
    ) -> Result<bool, StoreError> {
        let changes = changes(&session.catalog, &self.digest);
        if changes.is_empty() {
            return Ok(false);
        }
        self.stores.sessions.set_catalog(id, &self.digest).await?;
        for signal in &changes {
            if let Some(notification) = notifications::notification(signal, None) {
                self.stores.log.append(id, &notification).await?;
            }
        }
        Ok(true)
    }

    /// Notes that the client of a session was given our tools, or our prompts.
    pub(in crate::engine) async fn record_list_sent(
        &self,
        id: &SessionId,
        session: &Session,
        tools: bool,
    ) -> Result<(), StoreError> {
        let mut catalog = session.catalog.clone();
        if tools {
            catalog.tools.clone_from(&self.digest.tools);
        } else {
            catalog.prompts.clone_from(&self.digest.prompts);
        }
        if catalog == session.catalog {
            return Ok(());
        }
        self.stores.sessions.set_catalog(id, &catalog).await
    }
}
