//! Reads and writes documents of notes, for imports and exports. Pure functions without access to
//! the database.
//!
//! A [`markdown`] document contains one note, or several with a separator line between them. A
//! [`json`] document is an array of notes, an object with such an array, or the export of another
//! program ([`programs`]). An [`archive`] contains such documents. An import reads back an export
//! unchanged.
//!
//! **The text of a note is always kept.** An invalid title, tag or date never rejects a note: it is
//! kept in the text, with a warning. Only a document that is not readable or exceeds a limit is
//! rejected.

mod archive;
mod builder;
mod dates;
mod decode;
mod document;
mod front_matter;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod inline;
mod json;
mod json_parts;
mod markdown;
mod native_json;
mod programs;
mod raw_note;
mod tags;
#[cfg(test)]
mod tests;
mod text;

use self::{
    builder::DocumentBuilder,
    decode::{decode, detect_format},
};
pub use self::{
    document::{
        Document, DocumentFormat, ImportError, ImportedNote, MAX_BYTES, MAX_NOTES, MAX_WARNINGS,
    },
    markdown::{SEPARATOR, write as write_markdown},
    native_json::JsonWriter,
};

/// Reads the notes of a Markdown, JSON or ZIP document. `format: None` detects the format.
pub fn read(bytes: &[u8], format: Option<DocumentFormat>) -> Result<Document, ImportError> {
    if bytes.len() > MAX_BYTES {
        return Err(ImportError::TooLarge(bytes.len()));
    }
    let mut builder = DocumentBuilder::default();
    if archive::is_archive(bytes) {
        archive::read(bytes, &mut builder)?;
    } else if format == Some(DocumentFormat::Zip) {
        return Err(ImportError::NotZip);
    } else {
        let (text, encoding) = decode(bytes).ok_or(ImportError::NotText)?;
        if let Some(encoding) = encoding {
            builder.warn(format!("it is not in UTF-8 and was read as {}", encoding.name()));
        }
        match format.unwrap_or_else(|| detect_format(&text)) {
            DocumentFormat::Json => json::read(&text, &mut builder)?,
            _ => {
                for raw in markdown::read(&text, None)? {
                    builder.add(raw)?;
                }
            }
        }
    }
    builder.finish()
}
