//! Reads and writes the notes of a user.
//!
//! Functions that read take a database connection, so that they compose. Functions that write take
//! the [`State`], because they publish each committed change to subscribers ([`crate::changes`]).
//! Every statement filters by owner, so another user's note and a note that never existed give the
//! same error: [`NotesError::NotFound`].

use mcp::UserId;

use crate::{State, changes::Change};

mod complete;
mod cursor;
mod error;
mod excerpt;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
pub mod import;
pub mod index;
mod note;
mod note_ref;
mod passages;
mod query;
pub mod quota;
mod read;
mod search;
pub mod stats;
mod text;
mod write;

pub(crate) use self::note_ref::NoteRef;
pub use self::{
    complete::{MAX_SUGGESTIONS, complete_ids, complete_titles},
    cursor::{Cursor, NotACursor},
    error::NotesError,
    excerpt::MARK,
    note::{Changes, Draft, Listing, Note, NoteSummary, Page},
    read::{count, get, get_many, index, list, list_full},
    search::{Hit, Hits, find, search},
    text::{
        Body, DEFAULT_PAGE, InvalidValue, MAX_BODY, MAX_PAGE, MAX_QUERY, MAX_QUERY_WORDS, MAX_TAG,
        MAX_TAGS, MAX_TITLE, PageSize, SearchQuery, Tag, Tags, Title,
    },
};
pub use crate::note_id::NoteId;

/// Creates a note.
pub async fn create(state: &State, owner: &UserId, draft: Draft) -> Result<Note, NotesError> {
    let note = write::insert(state, owner, draft).await?;
    state.note_changed(owner, note.id, Change::Created).await;
    Ok(note)
}

/// Changes a note and returns the new version. Without any change, only reads the note.
pub async fn update(
    state: &State,
    owner: &UserId,
    id: NoteId,
    changes: Changes,
) -> Result<Note, NotesError> {
    if changes == Changes::default() {
        return get(&state.db_for(owner), owner, id).await;
    }
    let listed = changes.title.is_some();
    let note = write::update(state, owner, id, changes).await?;
    state.note_changed(owner, id, Change::Updated { listed }).await;
    Ok(note)
}

/// Replaces the tags of a note and returns the new version.
pub async fn set_tags(
    state: &State,
    owner: &UserId,
    id: NoteId,
    tags: Tags,
) -> Result<Note, NotesError> {
    update(state, owner, id, Changes { tags: Some(tags), ..Changes::default() }).await
}

/// Deletes a note and returns its last version. Of several concurrent calls, one succeeds.
pub async fn delete(state: &State, owner: &UserId, id: NoteId) -> Result<Note, NotesError> {
    let note = write::delete(&state.db_for(owner), owner, id).await?;
    state.note_changed(owner, id, Change::Deleted).await;
    Ok(note)
}
