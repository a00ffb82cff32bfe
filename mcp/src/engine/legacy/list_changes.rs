//! `list_changed` notifications after a deploy that has changed the tool or prompt list.
//!
//! Every instance has a digest of its lists. On start it replaces the digest of the previously
//! started instance in the shared store; if the two differ, `list_changed` is published to all
//! listening clients. An instance that restarts with the same lists publishes nothing, so during a
//! rolling deploy there is one notification for each alternation of old and new versions.
//!
//! A client that was not listening, or fetched the list from an old instance, is found by its
//! session: the session records the digest of the client's lists, and the reader of its standalone
//! stream compares it with that of the instance.

use std::{sync::Arc, time::Duration};

use crate::{
    engine::{Inner, notifications},
    store::{CatalogDigest, Session, SessionId, Signal, StoreError},
};

/// The delay between two attempts.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// The maximum number of attempts. After a longer outage, only the comparison with the session's
/// digest finds the change.
const ATTEMPTS: usize = 300;

/// Starts a task that stores the digest of this instance and publishes `list_changed` if it differs
/// from the previous one.
pub(in crate::engine) fn publish_digest(engine: &Arc<Inner>) {
    let weak = Arc::downgrade(engine);
    engine.environment.spawn(async move {
        for _ in 0..ATTEMPTS {
            let Some(engine) = weak.upgrade() else {
                return;
            };
            match engine.stores.bus.replace_catalog(&engine.digest).await {
                Ok(Some(before)) => {
                    for signal in changes(&before, &engine.digest) {
                        tracing::info!(
                            ?signal,
                            "The lists differ from those of the previous instance"
                        );
                        engine.publish(signal).await;
                    }
                    return;
                }
                Ok(None) => return,
                Err(error) => {
                    tracing::debug!(%error, "Could not store the digest of the lists; retrying");
                }
            }
            drop(engine);
            tokio::time::sleep(RETRY_DELAY).await;
        }
    });
}

/// The notifications for a client that has the lists of `known`.
fn changes(known: &CatalogDigest, current: &CatalogDigest) -> Vec<Signal> {
    let tools = (known.tools != current.tools).then_some(Signal::ToolListChanged);
    let prompts = (known.prompts != current.prompts).then_some(Signal::PromptListChanged);
    tools.into_iter().chain(prompts).collect()
}

impl Inner {
    /// Sends `list_changed` to a session whose cached tool and prompt lists differ from this
    /// version's, and records that it was notified. Returns whether anything was sent.
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

    /// Records that the client of a session has received the tool list, or the prompt list.
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
