//! Collects notes and warnings while a document is read.

use std::collections::BTreeSet;

use platform::{counted, plain, quoted};
use serde_json::Value;

use super::{
    document::{Document, ImportError, ImportedNote, MAX_NOTES, MAX_WARNINGS},
    raw_note::RawNote,
    text::shown,
};
use crate::store::MAX_TAG;

/// The maximum number of folders in a warning.
const SHOWN_FOLDERS: usize = 10;

/// The maximum length of a title in a warning, in characters.
const SHOWN_TITLE: usize = 60;

/// The notes and warnings of a document that is being read.
#[derive(Debug, Default)]
pub(super) struct DocumentBuilder {
    pub(super) notes: Vec<ImportedNote>,
    /// Warnings about the whole document.
    pub(super) warnings: Vec<String>,
    /// Warnings about single notes, at most [`MAX_WARNINGS`].
    note_warnings: Vec<String>,
    /// The number of further warnings, which are in neither list.
    more_warnings: usize,
    /// The number of notes that were in the trash of the other program.
    pub(super) trashed: usize,
    /// The current file of an archive, and its folders.
    pub(super) path: Option<String>,
    pub(super) folders: Vec<String>,
    /// The number of notes whose folder became a tag, and some of these tags.
    tagged_by_folder: usize,
    folder_tags: BTreeSet<String>,
}

impl DocumentBuilder {
    /// Adds a warning about the whole document or the current file.
    pub(super) fn warn(&mut self, warning: String) {
        if self.warnings.len() >= MAX_WARNINGS {
            self.more_warnings += 1;
            return;
        }
        self.warnings.push(match &self.path {
            Some(path) => format!("{}: {warning}", quoted(path)),
            None => warning,
        });
    }

    /// Adds a note, or several if its text is too long for one.
    pub(super) fn add(&mut self, mut raw: RawNote) -> Result<(), ImportError> {
        if !raw.is_native {
            self.add_folder_tag(&mut raw);
        }
        let number = self.notes.len() + 1;
        let (notes, warnings) = raw.finish();
        if self.notes.len() + notes.len() > MAX_NOTES {
            return Err(ImportError::TooMany);
        }
        let path = self.path.as_deref();
        for warning in warnings {
            if self.note_warnings.len() >= MAX_WARNINGS {
                self.more_warnings += 1;
            } else {
                let title = shown(notes[0].draft.title.as_str(), SHOWN_TITLE);
                let path = path.map(|path| format!(", {}", plain(path))).unwrap_or_default();
                self.note_warnings.push(format!("note {number} (“{title}”{path}): {warning}"));
            }
        }
        self.notes.extend(notes);
        Ok(())
    }

    /// Makes the path of the folders a tag of the note; without its first folders if it is too
    /// long.
    fn add_folder_tag(&mut self, raw: &mut RawNote) {
        if self.folders.is_empty() {
            return;
        }
        let fits = |folders: &[String]| folders.join("/").chars().count() <= MAX_TAG;
        let start = (0..self.folders.len()).find(|start| fits(&self.folders[*start..]));
        if start != Some(0) {
            raw.keep_in_text("folder", &format!("folder: {}", Value::from(self.folders.join("/"))));
        }
        let Some(start) = start else { return };
        let tag = self.folders[start..].join("/");
        self.tagged_by_folder += 1;
        if self.folder_tags.len() < SHOWN_FOLDERS {
            self.folder_tags.insert(tag.clone());
        }
        raw.add_tags([tag]);
    }

    /// Returns the document, with warnings about the whole document first.
    pub(super) fn finish(mut self) -> Result<Document, ImportError> {
        (self.path, self.folders) = (None, Vec::new());
        if self.tagged_by_folder > 0 {
            let shown: Vec<_> = self.folder_tags.iter().map(|tag| quoted(tag)).collect();
            let notes = counted(self.tagged_by_folder, "note", "notes");
            self.warn(format!("the folder became a tag for {notes}: {}", shown.join(", ")));
        }
        if self.trashed > 0 {
            let notes = counted(self.trashed, "note", "notes");
            self.warn(format!("left out, because they are in the trash: {notes}"));
        }
        if self.notes.is_empty() {
            return Err(ImportError::Empty(self.warnings));
        }
        let mut warnings = self.warnings;
        warnings.extend(self.note_warnings);
        let more_warnings = self.more_warnings + warnings.len().saturating_sub(MAX_WARNINGS);
        warnings.truncate(MAX_WARNINGS);
        Ok(Document { notes: self.notes, warnings, more_warnings })
    }
}
