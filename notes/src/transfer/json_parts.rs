//! Parses JSON documents in parts, so that a large document is never in memory as a whole tree of
//! values.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Value, value::RawValue};

use super::document::{ImportError, MAX_NOTES};

/// The maximum size of the JSON of a note in bytes: forty times the text of a note. Its parsed form
/// takes more memory.
const MAX_NOTE_BYTES: usize = 4 * 1024 * 1024;

/// The maximum number of entries of the top-level object. A note or a backup has a few dozen.
const MAX_ENTRIES: usize = 1_000;

/// The message by which [`not_json`] recognizes that a document has too many notes.
const TOO_MANY: &str = "more notes than may be imported at once";

/// The top-level value of a document, with unparsed parts.
pub(super) enum TopLevel<'a> {
    List(Vec<&'a RawValue>),
    Object(Vec<(String, &'a RawValue)>),
}

/// Converts an error of the parser.
pub(super) fn not_json(error: &serde_json::Error) -> ImportError {
    let problem = error.to_string();
    if problem.starts_with(TOO_MANY) { ImportError::TooMany } else { ImportError::NotJson(problem) }
}

/// Returns the error for a top-level object without notes.
pub(super) fn not_a_note() -> ImportError {
    ImportError::NotJson("it is an object without `notes`, and not a note itself".into())
}

/// Parses all entries of an object.
pub(super) fn all_entries(
    entries: &[(String, &RawValue)],
) -> Result<serde_json::Map<String, Value>, ImportError> {
    entries
        .iter()
        .map(|(key, text)| {
            let value = value(text).ok_or_else(not_a_note)?;
            Ok((key.clone(), value))
        })
        .collect()
}

/// Parses a part of a document. `None`: it is too large for a note, or has a number out of range.
pub(super) fn value(text: &RawValue) -> Option<Value> {
    if text.get().len() > MAX_NOTE_BYTES {
        return None;
    }
    // Its syntax was checked with the document, so only a number out of range can fail here.
    serde_json::from_str(text.get()).ok()
}

impl<'de> Deserialize<'de> for TopLevel<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TopLevelVisitor)
    }
}

struct TopLevelVisitor;

impl<'de> Visitor<'de> for TopLevelVisitor {
    type Value = TopLevel<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of notes, or an object with one in `notes`")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<TopLevel<'de>, A::Error> {
        let mut notes = Vec::new();
        while let Some(note) = items.next_element()? {
            if notes.len() >= MAX_NOTES {
                return Err(A::Error::custom(TOO_MANY));
            }
            notes.push(note);
        }
        Ok(TopLevel::List(notes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<TopLevel<'de>, A::Error> {
        let mut found = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            if found.len() >= MAX_ENTRIES {
                return Err(A::Error::custom("it is an object with too many entries"));
            }
            found.push(entry);
        }
        Ok(TopLevel::Object(found))
    }
}
