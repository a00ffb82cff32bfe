//! Tells clients that listen at any instance which resources a commit has changed.

use mcp::{Signal, UserId};
use platform::signals;

use crate::{State, note_id::NoteId, uris};

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

impl State {
    /// Publishes what follows from many changes at once, new notes among them: the list is told of
    /// once, and each of `replaced` by itself.
    pub(crate) async fn notes_imported(&self, owner: &UserId, replaced: &[NoteId]) {
        let uris = replaced.iter().map(|it| uris::note(*it));
        let uris = std::iter::once(uris::RECENT.to_owned()).chain(uris);
        let updated = uris.map(|uri| Signal::ResourceUpdated { user: owner.clone(), uri });
        let listed = Signal::ResourceListChanged { user: owner.clone() };
        self.publish(std::iter::once(listed).chain(updated).collect()).await;
    }

    /// Publishes what follows from one commit, after it.
    pub async fn publish(&self, signals: Vec<Signal>) {
        signals::publish(self.bus(), signals).await;
    }

    /// Publishes everything that follows from a change of one note.
    pub(crate) async fn note_changed(&self, owner: &UserId, id: NoteId, change: Change) {
        let updated = |uri| Signal::ResourceUpdated { user: owner.clone(), uri };
        let mut signals = Vec::new();
        if change != Change::Created {
            signals.push(updated(uris::note(id)));
        }
        signals.push(updated(uris::RECENT.to_owned()));
        if change != (Change::Updated { listed: false }) {
            signals.push(Signal::ResourceListChanged { user: owner.clone() });
        }
        self.publish(signals).await;
    }
}
