//! Telling other instances, and so the clients that listen there, what a commit has changed.
//!
//! Best effort: the change itself is committed and stands, and a client that hears of it late asks
//! again sooner or later. So a failure is logged, never reported, and a slow bus delays nobody for
//! longer than [`PUBLISH_TIMEOUT`].

use std::time::Duration;

use entity::NoteId;
use mcp::{Signal, UserId};

use crate::{Service, notes};

/// How long a writer waits until the bus has taken its signals.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(1);

/// What happened to one note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Created,
    /// `listed` if what a list of notes shows of it, its title, is different now.
    Updated {
        listed: bool,
    },
    Deleted,
}

impl Service {
    /// Publishes one signal, after the commit that it tells of.
    pub async fn changed(&self, signal: Signal) {
        match tokio::time::timeout(PUBLISH_TIMEOUT, self.bus().publish(signal)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(error = ?error, "A change was not published: {error}"),
            Err(_) => tracing::warn!("A change was not published within {PUBLISH_TIMEOUT:?}"),
        }
    }

    /// Publishes everything that follows from a change of one note.
    pub(crate) async fn note_changed(&self, owner: &UserId, id: NoteId, change: Change) {
        let updated = |uri| Signal::ResourceUpdated { user: owner.clone(), uri };
        if change != Change::Created {
            self.changed(updated(notes::uri(id))).await;
        }
        self.changed(updated(notes::RECENT_URI.to_owned())).await;
        if change != (Change::Updated { listed: false }) {
            self.changed(Signal::ResourceListChanged { user: owner.clone() }).await;
        }
    }
}
