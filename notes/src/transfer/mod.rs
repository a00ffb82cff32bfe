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
mod builder;
mod dates;
mod decode;
mod document;
mod front_matter;
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

/// Reads the notes of a document: Markdown, JSON or a ZIP archive.
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
