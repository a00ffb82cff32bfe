//! The URIs of resources.

use crate::note_id::NoteId;

/// The URI of the resource with the newest notes of the user.
pub const RECENT: &str = "notes://recent";

/// The URI of the resource of a note, without its id.
pub const NOTE_PREFIX: &str = "notes://by-id/";

/// Returns the URI of the resource of a note.
pub fn note(id: NoteId) -> String {
    format!("{NOTE_PREFIX}{id}")
}
