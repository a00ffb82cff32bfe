//! Notifies subscribed clients, on any instance, of resources that a commit has changed.

use mcp::{Signal, UserId};
use platform::signals;

use crate::{State, note_id::NoteId, uris};

/// A change of a note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Created,
    /// `listed`: whether the title, which the list of resources contains, has changed.
    Updated {
        listed: bool,
    },
    Deleted,
}

impl State {
    /// Publishes the changes of an import: one change of the list, and one for each replaced note.
    pub(crate) async fn notes_imported(&self, owner: &UserId, replaced: &[NoteId]) {
        let uris = replaced.iter().map(|id| uris::note(*id));
        let uris = std::iter::once(uris::RECENT.to_owned()).chain(uris);
        let updated = uris.map(|uri| Signal::ResourceUpdated { user: owner.clone(), uri });
        let listed = Signal::ResourceListChanged { user: owner.clone() };
        self.publish(std::iter::once(listed).chain(updated).collect()).await;
    }

    /// Publishes signals. Call after the commit.
    pub async fn publish(&self, signals: Vec<Signal>) {
        signals::publish(self.bus(), signals).await;
    }

    /// Publishes the signals for a change of one note.
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
