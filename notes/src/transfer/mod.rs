//! Notes as documents: what an import reads and an export writes. Pure; nothing here asks a database.
//!
//! A [`markdown`] document is one note, or several with a separator line between them; a [`json`]
//! document is an array of notes, or an object that holds one, or what another program exports
//! ([`programs`]); an [`archive`] holds such documents. What an export writes, an import reads back to
//! the letter.
//!
//! **The text of a note is worth more than its ornaments.** A title, a tag or a date that does not fit
//! never refuses a note: it stays in the text, and a warning says so. Only what is no document is
//! refused, and what exceeds a limit of the whole document.

mod archive;
mod dates;
mod front_matter;
mod inline;
mod json;
mod markdown;
mod programs;
mod raw;
mod tags;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use encoding_rs::{Encoding, UTF_8};
use platform::{counted, plain, quoted};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use self::raw::Raw;
pub use self::{
    json::JsonWriter,
    markdown::{SEPARATOR, write as write_markdown},
};
use crate::store::{Draft, MAX_TAG};

/// The largest document, in bytes: 10,000 notes of a page each.
pub const MAX_BYTES: usize = 16 * 1024 * 1024;

/// The most notes of one document.
pub const MAX_NOTES: usize = 20_000;

/// Warnings that are told one by one; the others are counted.
pub const MAX_WARNINGS: usize = 100;

/// Control characters that a text may hold without being taken for a binary file.
const STRAY_CONTROLS: usize = 2;

/// Folders that a warning names.
const SHOWN_FOLDERS: usize = 10;

/// Characters of a title in a message about its note.
const SHOWN_TITLE: usize = 60;

/// What a document is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Form {
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
pub struct Incoming {
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
    pub notes: Vec<Incoming>,
    /// At most [`MAX_WARNINGS`]: those about the whole document, then those about single notes.
    pub warnings: Vec<String>,
    /// How many more warnings there were.
    pub more_warnings: usize,
}

/// Why a document cannot be imported. Nothing of it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotImportable {
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
        archive::MAX_ENTRIES
    )]
    TooManyFiles,
    /// More text than an archive may have.
    #[error("the texts in the ZIP archive have more than {} MB: split it", archive::MAX_UNPACKED >> 20)]
    Unpacked,
    /// A file that is compressed so much that it can be no text of a person.
    #[error("{} in the ZIP archive is compressed too much to be a note: leave it out", quoted(.0))]
    Bomb(String),
}

/// Reads the notes of a document: Markdown, JSON or a ZIP archive.
pub fn read(bytes: &[u8], form: Option<Form>) -> Result<Document, NotImportable> {
    if bytes.len() > MAX_BYTES {
        return Err(NotImportable::TooLarge(bytes.len()));
    }
    let mut reading = Reading::default();
    if archive::is_archive(bytes) {
        archive::read(bytes, &mut reading)?;
    } else if form == Some(Form::Zip) {
        return Err(NotImportable::NotZip);
    } else {
        let (text, encoding) = decode(bytes).ok_or(NotImportable::NotText)?;
        if let Some(encoding) = encoding {
            reading.warn(format!("it is not in UTF-8 and was read as {}", encoding.name()));
        }
        match form.unwrap_or_else(|| guess(&text)) {
            Form::Json => json::read(&text, &mut reading)?,
            _ => {
                for raw in markdown::read(&text, None)? {
                    reading.add(raw)?;
                }
            }
        }
    }
    reading.finish()
}

/// The text of a document, and its encoding if that had to be guessed. `None`: it is not text.
fn decode(bytes: &[u8]) -> Option<(String, Option<&'static Encoding>)> {
    if let Some((encoding, length)) = Encoding::for_bom(bytes) {
        let (text, _) = encoding.decode_without_bom_handling(&bytes[length..]);
        return Some((text.into_owned(), None));
    }
    let controls = bytes.iter().filter(|it| matches!(it, 0..=8 | 14..=26 | 28..=31)).count();
    if let Ok(text) = std::str::from_utf8(bytes) {
        let is_binary = controls > STRAY_CONTROLS && controls > bytes.len() / 10;
        return (!is_binary).then(|| (text.to_owned(), None));
    }
    if controls > 0 {
        return None;
    }
    let mut detector = chardetng::EncodingDetector::new(chardetng::Iso2022JpDetection::Deny);
    detector.feed(bytes, true);
    let encoding = detector.guess(None, chardetng::Utf8Detection::Deny);
    let (text, _) = encoding.decode_without_bom_handling(bytes);
    Some((text.into_owned(), Some(encoding).filter(|it| *it != UTF_8)))
}

/// A document while it is read.
#[derive(Debug, Default)]
struct Reading {
    notes: Vec<Incoming>,
    /// About the whole document.
    warnings: Vec<String>,
    /// About single notes, at most [`MAX_WARNINGS`].
    note_warnings: Vec<String>,
    /// Those about single notes that are in neither list.
    more_warnings: usize,
    /// Notes in the trash of a program.
    trashed: usize,
    /// The file of an archive that is read, and its folders.
    path: Option<String>,
    folders: Vec<String>,
    /// How many notes got their folder as a tag, and some of these tags.
    foldered: usize,
    folder_tags: BTreeSet<String>,
}

impl Reading {
    fn warn(&mut self, warning: String) {
        if self.warnings.len() >= MAX_WARNINGS {
            self.more_warnings += 1;
            return;
        }
        self.warnings.push(match &self.path {
            Some(path) => format!("{}: {warning}", quoted(path)),
            None => warning,
        });
    }

    /// Adds a note.
    fn add(&mut self, mut raw: Raw) -> Result<(), NotImportable> {
        if !raw.is_own {
            self.add_folder_tag(&mut raw);
        }
        let number = self.notes.len() + 1;
        let (notes, warnings) = raw.finish();
        if self.notes.len() + notes.len() > MAX_NOTES {
            return Err(NotImportable::TooMany);
        }
        let path = self.path.as_deref();
        for warning in warnings {
            if self.note_warnings.len() >= MAX_WARNINGS {
                self.more_warnings += 1;
            } else {
                let title = shown(notes[0].draft.title.as_str(), SHOWN_TITLE);
                let path = path.map(|it| format!(", {}", plain(it))).unwrap_or_default();
                self.note_warnings.push(format!("note {number} (“{title}”{path}): {warning}"));
            }
        }
        self.notes.extend(notes);
        Ok(())
    }

    /// The folders of a note become one tag, as many of them as a tag can hold.
    fn add_folder_tag(&mut self, raw: &mut Raw) {
        if self.folders.is_empty() {
            return;
        }
        let fits = |it: &[String]| it.join("/").chars().count() <= MAX_TAG;
        let start = (0..self.folders.len()).find(|start| fits(&self.folders[*start..]));
        if start != Some(0) {
            raw.keep("folder", &format!("folder: {}", Value::from(self.folders.join("/"))));
        }
        let Some(start) = start else { return };
        let tag = self.folders[start..].join("/");
        self.foldered += 1;
        if self.folder_tags.len() < SHOWN_FOLDERS {
            self.folder_tags.insert(tag.clone());
        }
        raw.add_tags([tag]);
    }

    fn finish(mut self) -> Result<Document, NotImportable> {
        (self.path, self.folders) = (None, Vec::new());
        if self.foldered > 0 {
            let shown: Vec<_> = self.folder_tags.iter().map(|it| quoted(it)).collect();
            let notes = counted(self.foldered, "note", "notes");
            self.warn(format!("the folder became a tag for {notes}: {}", shown.join(", ")));
        }
        if self.trashed > 0 {
            let notes = counted(self.trashed, "note", "notes");
            self.warn(format!("left out, because they are in the trash: {notes}"));
        }
        if self.notes.is_empty() {
            return Err(NotImportable::Empty(self.warnings));
        }
        let mut warnings = self.warnings;
        warnings.extend(self.note_warnings);
        let more_warnings = self.more_warnings + warnings.len().saturating_sub(MAX_WARNINGS);
        warnings.truncate(MAX_WARNINGS);
        Ok(Document { notes: self.notes, warnings, more_warnings })
    }
}

/// No Markdown begins like this: a link is `[text]`, and a checkbox has a list before it.
fn guess(text: &str) -> Form {
    let mut tokens = text.chars().filter(|it| !it.is_whitespace());
    match (tokens.next(), tokens.next()) {
        (Some('['), Some('{' | ']')) | (Some('{'), Some('"' | '}')) => Form::Json,
        _ => Form::Markdown,
    }
}

/// The beginning of a text, for a sentence that quotes it.
fn shown(text: &str, max: usize) -> String {
    shorten(&plain(text), max)
}

fn shorten(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}
