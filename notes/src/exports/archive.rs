//! Encodes notes into a file, piece by piece, so that memory holds only the most recent piece.

use std::{
    io::{self, Write as _},
    sync::{Arc, Mutex, PoisonError},
};

use chrono::{DateTime, Datelike as _, Timelike as _, Utc};
use zip::{
    CompressionMethod, ZipWriter,
    write::{SimpleFileOptions, StreamWriter},
};

use super::Format;
use crate::{
    store::Note,
    transfer::{JsonWriter, SEPARATOR, write_markdown},
};

/// The maximum length of the title in a file name, in bytes: file systems allow 255 in total.
const NAME_LENGTH: usize = 180;

/// An encoder for one of the formats.
pub(super) enum Archive {
    Zip { zip: Box<ZipWriter<StreamWriter<Buffer>>>, buffer: Buffer },
    Json(JsonWriter),
    Markdown { text: String, is_first: bool },
}

/// The compressed bytes that have not been taken yet.
#[derive(Clone, Default)]
pub(super) struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl io::Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Archive {
    pub(super) fn new(format: Format, now: DateTime<Utc>) -> Self {
        match format {
            Format::Zip => {
                let buffer = Buffer::default();
                let zip = Box::new(ZipWriter::new_stream(buffer.clone()));
                Self::Zip { zip, buffer }
            }
            Format::Json => Self::Json(JsonWriter::new(now)),
            Format::Markdown => Self::Markdown { text: String::new(), is_first: true },
        }
    }

    pub(super) fn push(&mut self, note: &Note) -> io::Result<()> {
        match self {
            Self::Zip { zip, .. } => {
                let options = SimpleFileOptions::default()
                    .compression_method(CompressionMethod::Deflated)
                    .last_modified_time(dos_time(note.updated_at));
                zip.start_file(file_name(note), options)?;
                zip.write_all(write_markdown(note).as_bytes())?;
            }
            Self::Json(json) => json.push(note),
            Self::Markdown { text, is_first } => {
                if !std::mem::take(is_first) {
                    text.extend([SEPARATOR, "\n"]);
                }
                text.push_str(&write_markdown(note));
            }
        }
        Ok(())
    }

    /// Returns the bytes that were encoded since the last call.
    pub(super) fn take(&mut self) -> Vec<u8> {
        match self {
            Self::Zip { buffer, .. } => buffer.take(),
            Self::Json(json) => json.take(),
            Self::Markdown { text, .. } => std::mem::take(text).into_bytes(),
        }
    }

    /// Finishes the file and returns the remaining bytes.
    pub(super) fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Self::Zip { zip, buffer } => {
                zip.finish()?;
                Ok(buffer.take())
            }
            Self::Json(json) => Ok(json.finish()),
            Self::Markdown { text, .. } => Ok(text.into_bytes()),
        }
    }
}

/// Returns a file name that is valid on every system: the title without special characters, and a
/// part of the id to make it unique.
fn file_name(note: &Note) -> String {
    let plain = |character: char| {
        if character.is_alphanumeric() || matches!(character, '-' | '_') { character } else { ' ' }
    };
    let title: String = note.title.chars().map(plain).collect();
    let words: Vec<_> = title.split_whitespace().collect();
    let title = words.join(" ");
    // Command-line programs take a file name that begins with `-` for an option.
    let title = title.trim_start_matches(['-', ' ']);
    let mut end = title.len().min(NAME_LENGTH);
    while !title.is_char_boundary(end) {
        end -= 1;
    }
    let id = note.id.to_string();
    // The last group of a UUID version 7 is random.
    let unique = id.rsplit('-').next().unwrap_or_default();
    match title[..end].trim() {
        "" => format!("{unique}.md"),
        title => format!("{title} {unique}.md"),
    }
}

/// Converts a time to the format of ZIP files, which has a resolution of 2 seconds and begins in
/// 1980.
fn dos_time(time: DateTime<Utc>) -> zip::DateTime {
    let small = |number: u32| u8::try_from(number).unwrap_or_default();
    zip::DateTime::from_date_and_time(
        u16::try_from(time.year()).unwrap_or_default(),
        small(time.month()),
        small(time.day()),
        small(time.hour()),
        small(time.minute()),
        small(time.second()),
    )
    .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Read as _};

    use crate::note_id::NoteId;
    use uuid::Uuid;

    use super::*;
    use crate::transfer;

    fn note(number: u128, title: &str) -> Note {
        Note {
            id: NoteId(Uuid::from_u128(number)),
            title: title.into(),
            body: "Some text. ".repeat(100),
            tags: vec!["a, b".into()],
            created_at: DateTime::UNIX_EPOCH,
            updated_at: DateTime::from_timestamp_secs(1_700_000_000).unwrap(),
        }
    }

    fn written(format: Format, notes: &[Note]) -> Vec<u8> {
        let mut archive = Archive::new(format, DateTime::UNIX_EPOCH);
        let mut bytes = Vec::new();
        for note in notes {
            archive.push(note).unwrap();
            bytes.extend(archive.take());
        }
        bytes.extend(archive.finish().unwrap());
        bytes
    }

    #[test]
    fn a_zip_contains_a_document_for_each_note() {
        let notes = [
            note(1, "Tea & cake"),
            note(2, "Tea & cake"),
            note(3, "../../etc/passwd"),
            note(4, "…"),
        ];
        let bytes = written(Format::Zip, &notes);
        let mut zip = zip::ZipArchive::new(Cursor::new(bytes)).unwrap();
        assert_eq!(zip.len(), 4);
        for (index, name) in [
            "Tea cake 000000000001.md",
            "Tea cake 000000000002.md",
            "etc passwd 000000000003.md",
            "000000000004.md",
        ]
        .iter()
        .enumerate()
        {
            let mut file = zip.by_index(index).unwrap();
            assert_eq!(file.name().unwrap(), *name);
            assert!(file.compressed_size() < file.size());
            let mut text = String::new();
            file.read_to_string(&mut text).unwrap();
            let read = transfer::read(text.as_bytes(), None).unwrap().notes.remove(0);
            assert_eq!(read.draft.title.as_str(), notes[index].title);
            assert_eq!(read.draft.body.as_str(), notes[index].body);
        }
    }

    #[test]
    fn file_names_are_valid_on_every_system_and_not_options() {
        let long = "𠀀".repeat(200);
        for title in [
            "-rf",
            "--help",
            "- - -x",
            "-",
            "\u{2010}x",
            "..",
            "CON",
            "nul.",
            "a/b\\c",
            "a:b*c?\"<>|",
            "~x",
            "$(x)",
            "trailing. ",
            "\u{202e}dm",
            "line\nbreak",
            "\0",
            "",
            &long,
        ] {
            let name = file_name(&note(7, title));
            assert!(!name.starts_with(['-', '.', '~', ' ']), "{name:?}");
            assert!(name.ends_with("000000000007.md") && name.len() <= 255, "{name:?}");
            let plain = |character: char| character.is_alphanumeric() || " -_.".contains(character);
            assert!(name.chars().all(plain) && !name.contains(".."), "{name:?}");
        }
    }

    #[test]
    fn encoded_pieces_form_one_document() {
        let notes = [note(1, "One"), note(2, "Two")];
        for format in [Format::Zip, Format::Json, Format::Markdown] {
            let bytes = written(format, &notes);
            let read = transfer::read(&bytes, None).unwrap();
            let titles: Vec<_> = read.notes.iter().map(|note| note.draft.title.as_str()).collect();
            assert_eq!(titles, ["One", "Two"], "{format:?}");
        }
        assert!(
            transfer::read(&written(Format::Json, &[]), None).is_err(),
            "a document without notes"
        );
    }
}
