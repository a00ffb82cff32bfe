//! The URIs of resources.

use crate::note_id::NoteId;

/// The resource with a user's newest notes.
pub const RECENT: &str = "notes://recent";

/// The URI of the resource of one note without its id.
pub const NOTE_PREFIX: &str = "notes://by-id/";

/// The URI of the resource of one note.
pub fn note(id: NoteId) -> String {
    format!("{NOTE_PREFIX}{id}")
}
