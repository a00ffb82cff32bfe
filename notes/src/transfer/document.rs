//! Documents of notes, their limits, and the errors of an import.

use chrono::{DateTime, Utc};
use platform::quoted;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::store::Draft;

/// The maximum size of a document in bytes, enough for 10,000 notes of a page each.
pub const MAX_BYTES: usize = 16 * 1024 * 1024;

/// The maximum number of notes in a document.
pub const MAX_NOTES: usize = 20_000;

/// The maximum number of warnings in a result; further ones are only counted.
pub const MAX_WARNINGS: usize = 100;

/// The maximum number of files and folders in an archive: the notes of an import, and as many
/// attachments.
pub(super) const MAX_ENTRIES: usize = 2 * MAX_NOTES;

/// The maximum size of an archive after decompression, in bytes. All of it is in memory at once.
pub(super) const MAX_UNPACKED: usize = 2 * MAX_BYTES;

/// The format of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum DocumentFormat {
    /// Markdown, each note with or without front matter (`title`, `tags`, `created_at`,
    /// `updated_at`; YAML or TOML). Notes are separated by a line `<!-- notes-mcp: next note -->`.
    Markdown,
    /// A JSON array of objects with `title`, `body`, `tags`, `created_at` and `updated_at`; an object
    /// with such an array in `notes`; or the JSON export of Google Keep, Simplenote or Standard Notes.
    Json,
    /// A ZIP file of Markdown, text and JSON files, from a `url`.
    Zip,
}

/// A note of a document, within the limits of notes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportedNote {
    /// Title, text and tags.
    pub draft: Draft,
    /// The time of creation, if the document has it.
    pub created_at: Option<DateTime<Utc>>,
    /// The time of the last change, if the document has it.
    pub updated_at: Option<DateTime<Utc>>,
}

/// The notes of a document, with warnings about what was changed or left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    /// The notes in the order of the document.
    pub notes: Vec<ImportedNote>,
    /// At most [`MAX_WARNINGS`]: those about the whole document, then those about single notes.
    pub warnings: Vec<String>,
    /// The number of further warnings.
    pub more_warnings: usize,
}

/// The document cannot be imported. No note of it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// The document is larger than [`MAX_BYTES`].
    #[error("the document has {0} bytes, and the maximum is {MAX_BYTES}: split it")]
    TooLarge(usize),
    /// The document has more than [`MAX_NOTES`] notes.
    #[error("the document has more than {MAX_NOTES} notes, the maximum: split it")]
    TooMany,
    /// The document has no notes. Contains the warnings about what was left out.
    #[error("the document holds no note{}{}", if .0.is_empty() { "" } else { "; " }, .0.join("; "))]
    Empty(Vec<String>),
    /// The document is a binary file of an unknown type.
    #[error("the document is not text, JSON or a ZIP archive")]
    NotText,
    /// The document is not JSON, or JSON without notes.
    #[error("the document is not a JSON array of notes: {0}")]
    NotJson(String),
    /// The document is not a ZIP archive, although the caller specified this format.
    #[error("the document is not a ZIP archive")]
    NotZip,
    /// The ZIP archive is damaged.
    #[error("the ZIP archive cannot be read: {0}")]
    Archive(String),
    /// The ZIP archive has more than [`MAX_ENTRIES`] entries.
    #[error(
        "the ZIP archive has more than {} files and folders, the maximum: split it, or leave out attachments",
        MAX_ENTRIES
    )]
    TooManyFiles,
    /// The files in the ZIP archive are larger than [`MAX_UNPACKED`] after decompression.
    #[error("the files in the ZIP archive have more than {} MB after decompression, the maximum: split it", MAX_UNPACKED >> 20)]
    Unpacked,
    /// A file in the ZIP archive has a compression ratio that texts do not have.
    #[error("the compression ratio of {} in the ZIP archive is too high for a note: leave the file out", quoted(.0))]
    Bomb(String),
}
