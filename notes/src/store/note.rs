//! The types of notes that the functions of [`super`] take and return.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    cursor::Cursor,
    text::{Body, PageSize, Tag, Tags, Title},
};
use crate::{entity::Model, note_id::NoteId};

/// A note with its full text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Note {
    /// The id, to name the note in other calls.
    pub id: NoteId,
    /// The title.
    pub title: String,
    /// The text, plain or Markdown.
    pub body: String,
    /// The tags.
    pub tags: Vec<String>,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

/// A note in a list, with the beginning of its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct NoteSummary {
    /// The id, to name the note in other calls.
    pub id: NoteId,
    /// The title.
    pub title: String,
    /// The beginning of the text, at most 200 characters. Ends with “…” if the text is longer.
    pub excerpt: String,
    /// The tags.
    pub tags: Vec<String>,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

/// A page of notes, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Page {
    /// The notes of this page.
    pub notes: Vec<NoteSummary>,
    /// The cursor of the next page. Absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<Cursor>,
}

/// Selects the notes of a page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The number of notes on the page.
    pub limit: PageSize,
    /// The `next_cursor` of the previous page; `None` for the first page.
    pub cursor: Option<Cursor>,
    /// If set, only notes with exactly this tag.
    pub tag: Option<Tag>,
}

/// The content of a new note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// The title.
    pub title: Title,
    /// The text.
    pub body: Body,
    /// The tags.
    pub tags: Tags,
}

/// Changes to a note. A field that is `None` stays unchanged; tags are replaced as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The new title.
    pub title: Option<Title>,
    /// The new text.
    pub body: Option<Body>,
    /// The new tags.
    pub tags: Option<Tags>,
}

impl Note {
    /// Returns the cursor of the list after this note.
    pub fn cursor(&self) -> Cursor {
        Cursor::new(self.created_at, self.id)
    }
}

impl From<Model> for Note {
    fn from(row: Model) -> Self {
        Self {
            id: row.id,
            title: row.title,
            body: row.body,
            tags: row.tags.0,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}
