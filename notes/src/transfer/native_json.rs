//! Reads and writes the JSON format of exports.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::raw_note::RawNote;
use crate::store::Note;

/// The value of `format`, which identifies the format.
const FORMAT: &str = "notes-mcp";

/// The version of the format.
const VERSION: u8 = 1;

/// A note as [`JsonWriter`] writes it, which is read back unchanged.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NativeNote {
    #[serde(rename = "id")]
    _id: uuid::Uuid,
    title: String,
    body: String,
    tags: Vec<String>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

/// Returns whether the entries of a document are those that [`JsonWriter`] writes.
pub(super) fn is_native(entries: &[(String, &RawValue)]) -> bool {
    let says = |key: &str, value: &str| {
        entries.iter().any(|(name, text)| name == key && text.get() == value)
    };
    says("format", &format!("\"{FORMAT}\"")) && says("version", &VERSION.to_string())
}

/// Reads a note that [`JsonWriter`] has written. `None`: it has been modified.
pub(super) fn read_note(text: &RawValue) -> Option<RawNote> {
    let note: NativeNote = mcp::json::from_str(text.get()).ok()?;
    Some(RawNote {
        is_native: true,
        title: Some(note.title),
        body: note.body,
        tags: note.tags,
        created_at: Some(note.created_at),
        updated_at: Some(note.updated_at),
        ..RawNote::default()
    })
}

/// Writes a document piece by piece, so that it is never in memory as a whole.
#[derive(Debug)]
pub struct JsonWriter {
    written: Vec<u8>,
    empty: bool,
}

impl JsonWriter {
    /// Begins the document.
    pub fn new(now: DateTime<Utc>) -> Self {
        let now = now.to_rfc3339_opts(SecondsFormat::Secs, true);
        let head = format!(
            "{{\"format\":\"{FORMAT}\",\"version\":{VERSION},\"exported_at\":\"{now}\",\"notes\":["
        );
        Self { written: head.into_bytes(), empty: true }
    }

    /// Adds a note.
    pub fn push(&mut self, note: &Note) {
        self.written.extend_from_slice(if self.empty { b"\n" } else { b",\n" });
        self.empty = false;
        serde_json::to_writer(&mut self.written, note).expect("a note can be serialized");
    }

    /// Returns the bytes that were written since the last call.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.written)
    }

    /// Ends the document and returns the remaining bytes.
    pub fn finish(mut self) -> Vec<u8> {
        self.written.extend_from_slice(b"\n]}\n");
        self.written
    }
}
