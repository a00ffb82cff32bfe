//! A document of notes, its limits, and why it cannot be imported.

use chrono::{DateTime, Utc};
use platform::quoted;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::store::Draft;

/// The largest document, in bytes: 10,000 notes of a page each.
pub const MAX_BYTES: usize = 16 * 1024 * 1024;

/// The most notes of one document.
pub const MAX_NOTES: usize = 20_000;

/// Warnings that are told one by one; the others are counted.
pub const MAX_WARNINGS: usize = 100;

/// The most files and folders of an archive: the notes of one import, and as many attachments.
pub(super) const MAX_ENTRIES: usize = 2 * MAX_NOTES;

/// The most text of an archive, in bytes, after decompression. It is in memory at once.
pub(super) const MAX_UNPACKED: usize = 2 * MAX_BYTES;

/// What a document is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum DocumentFormat {
    /// Markdown, each note with or without front matter (`title`, `tags`, `created_at`,
    /// `updated_at`; YAML or TOML). Several notes have a line `<!-- notes-mcp: next note -->` between
    /// them.
    Markdown,
    /// A JSON array of objects with `title`, `body`, `tags`, `created_at` and `updated_at`; an object
    /// with such an array in `notes`; or the JSON export of Google Keep, Simplenote or Standard Notes.
    Json,
    /// A ZIP file of Markdown, text and JSON files, from a `url`.
    Zip,
}

/// A note as a document holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportedNote {
    /// Title, text and tags.
    pub draft: Draft,
    /// When it was created, if the document says so.
    pub created_at: Option<DateTime<Utc>>,
    /// When it was last changed, if the document says so.
    pub updated_at: Option<DateTime<Utc>>,
}

/// The notes of a document, and what had to change or was left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    /// In the order of the document.
    pub notes: Vec<ImportedNote>,
    /// At most [`MAX_WARNINGS`]: those about the whole document, then those about single notes.
    pub warnings: Vec<String>,
    /// How many more warnings there were.
    pub more_warnings: usize,
}

/// Why a document cannot be imported. Nothing of it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// More than [`MAX_BYTES`].
    #[error(
        "the document has {0} bytes, and at most {MAX_BYTES} can be imported at once: split it"
    )]
    TooLarge(usize),
    /// More than [`MAX_NOTES`].
    #[error("the document has more than {MAX_NOTES} notes: split it")]
    TooMany,
    /// No note at all, and what was left out.
    #[error("the document holds no note{}{}", if .0.is_empty() { "" } else { "; " }, .0.join("; "))]
    Empty(Vec<String>),
    /// A binary file of an unknown kind.
    #[error("the document is not text, JSON or a ZIP archive")]
    NotText,
    /// Not JSON, or none that holds notes.
    #[error("the document is not a JSON array of notes: {0}")]
    NotJson(String),
    /// Not a ZIP archive, although it was called one.
    #[error("the document is not a ZIP archive")]
    NotZip,
    /// A ZIP archive that cannot be read.
    #[error("the ZIP archive cannot be read: {0}")]
    Archive(String),
    /// More files than an archive may have.
    #[error(
        "the ZIP archive has more than {} files and folders: split it, or leave out attachments",
        MAX_ENTRIES
    )]
    TooManyFiles,
    /// More text than an archive may have.
    #[error("the texts in the ZIP archive have more than {} MB: split it", MAX_UNPACKED >> 20)]
    Unpacked,
    /// A file that is compressed so much that it can be no text of a person.
    #[error("{} in the ZIP archive is compressed too much to be a note: leave it out", quoted(.0))]
    Bomb(String),
}
