//! A document while it is read.

use std::collections::BTreeSet;

use platform::{counted, plain, quoted};
use serde_json::Value;

use super::{
    document::{Document, ImportError, ImportedNote, MAX_NOTES, MAX_WARNINGS},
    raw_note::RawNote,
    text::shown,
};
use crate::store::MAX_TAG;

/// Folders that a warning names.
const SHOWN_FOLDERS: usize = 10;

/// Characters of a title in a message about its note.
const SHOWN_TITLE: usize = 60;

/// A document while it is read.
#[derive(Debug, Default)]
pub(super) struct DocumentBuilder {
    pub(super) notes: Vec<ImportedNote>,
    /// About the whole document.
    pub(super) warnings: Vec<String>,
    /// About single notes, at most [`MAX_WARNINGS`].
    note_warnings: Vec<String>,
    /// Those about single notes that are in neither list.
    more_warnings: usize,
    /// Notes in the trash of a program.
    pub(super) trashed: usize,
    /// The file of an archive that is read, and its folders.
    pub(super) path: Option<String>,
    pub(super) folders: Vec<String>,
    /// How many notes got their folder as a tag, and some of these tags.
    foldered: usize,
    folder_tags: BTreeSet<String>,
}

impl DocumentBuilder {
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

    /// Adds a note.
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
                let path = path.map(|it| format!(", {}", plain(it))).unwrap_or_default();
                self.note_warnings.push(format!("note {number} (“{title}”{path}): {warning}"));
            }
        }
        self.notes.extend(notes);
        Ok(())
    }

    /// The folders of a note become one tag, as many of them as a tag can hold.
    fn add_folder_tag(&mut self, raw: &mut RawNote) {
        if self.folders.is_empty() {
            return;
        }
        let fits = |it: &[String]| it.join("/").chars().count() <= MAX_TAG;
        let start = (0..self.folders.len()).find(|start| fits(&self.folders[*start..]));
        if start != Some(0) {
            raw.keep_in_text("folder", &format!("folder: {}", Value::from(self.folders.join("/"))));
        }
        let Some(start) = start else { return };
        let tag = self.folders[start..].join("/");
        self.foldered += 1;
        if self.folder_tags.len() < SHOWN_FOLDERS {
            self.folder_tags.insert(tag.clone());
        }
        raw.add_tags([tag]);
    }

    pub(super) fn finish(mut self) -> Result<Document, ImportError> {
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
            return Err(ImportError::Empty(self.warnings));
        }
        let mut warnings = self.warnings;
        warnings.extend(self.note_warnings);
        let more_warnings = self.more_warnings + warnings.len().saturating_sub(MAX_WARNINGS);
        warnings.truncate(MAX_WARNINGS);
        Ok(Document { notes: self.notes, warnings, more_warnings })
    }
}
