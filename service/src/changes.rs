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
    /// Publishes what follows from many changes at once, new notes among them: the list is told of
    /// once, and each of `replaced` by itself.
    pub(crate) async fn many_notes_changed(&self, owner: &UserId, replaced: &[NoteId]) {
        let uris = replaced.iter().map(|it| notes::uri(*it));
        let uris = std::iter::once(notes::RECENT_URI.to_owned()).chain(uris);
        let updated = uris.map(|uri| Signal::ResourceUpdated { user: owner.clone(), uri });
        let listed = Signal::ResourceListChanged { user: owner.clone() };
        self.changed(std::iter::once(listed).chain(updated).collect()).await;
    }

    /// Publishes what follows from one commit, after it.
    pub async fn changed(&self, signals: Vec<Signal>) {
        match tokio::time::timeout(PUBLISH_TIMEOUT, self.bus().publish_all(signals)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(
                    dependency = error.dependency(), error = ?error,
                    "A change was not published: {error}"
                );
            }
            Err(_) => tracing::warn!("A change was not published within {PUBLISH_TIMEOUT:?}"),
        }
    }

    /// Publishes everything that follows from a change of one note.
    pub(crate) async fn note_changed(&self, owner: &UserId, id: NoteId, change: Change) {
        let updated = |uri| Signal::ResourceUpdated { user: owner.clone(), uri };
        let mut signals = Vec::new();
        if change != Change::Created {
            signals.push(updated(notes::uri(id)));
        }
        signals.push(updated(notes::RECENT_URI.to_owned()));
        if change != (Change::Updated { listed: false }) {
            signals.push(Signal::ResourceListChanged { user: owner.clone() });
        }
        self.changed(signals).await;
    }
}
