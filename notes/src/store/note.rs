//! The types of notes that the functions of [`super`] take and return.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    cursor::Cursor,
    text::{Body, PageSize, Tag, Tags, Title},
};
use crate::{entity::Model, note_id::NoteId};

/// A note, whole.
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

/// A note as lists show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct NoteSummary {
    /// The id, to name the note in other calls.
    pub id: NoteId,
    /// The title.
    pub title: String,
    /// The beginning of the text, at most 200 characters; it ends with “…” if there is more.
    pub excerpt: String,
    /// The tags.
    pub tags: Vec<String>,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

/// Some notes, the newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Page {
    /// The notes of this page.
    pub notes: Vec<NoteSummary>,
    /// Where the next page begins; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<Cursor>,
}

/// Which notes to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// How many at once.
    pub limit: PageSize,
    /// Where the previous page ended.
    pub cursor: Option<Cursor>,
    /// Only notes that have this tag, written exactly so.
    pub tag: Option<Tag>,
}

/// A note to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// The title.
    pub title: Title,
    /// The text.
    pub body: Body,
    /// The tags.
    pub tags: Tags,
}

/// What to change of a note. What is absent stays as it is; tags are replaced as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// A new title.
    pub title: Option<Title>,
    /// A new text.
    pub body: Option<Body>,
    /// New tags.
    pub tags: Option<Tags>,
}

impl Note {
    /// Where the list goes on after this note.
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
