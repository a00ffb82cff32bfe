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
mod decode;
mod document;
mod front_matter;
mod inline;
mod json;
mod json_parts;
mod markdown;
mod own_json;
mod programs;
mod raw;
mod reading;
mod tags;
#[cfg(test)]
mod tests;
mod text;

use self::{
    decode::{decode, guess},
    reading::Reading,
};
pub use self::{
    document::{Document, Form, Incoming, MAX_BYTES, MAX_NOTES, MAX_WARNINGS, NotImportable},
    markdown::{SEPARATOR, write as write_markdown},
    own_json::JsonWriter,
};

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
