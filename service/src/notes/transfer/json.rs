//! Notes as JSON: an array, or an object that holds one in `notes`, as an export writes it.

use std::fmt;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::{MAX_NOTES, NotImportable, Problem, Raw};
use crate::notes::Note;

/// Says what a file is, to whoever finds it.
const FORMAT: &str = "notes-mcp";

/// What a reader of another version has to know.
const VERSION: u8 = 1;

/// How the reader tells that there are too many from everything else that may be wrong.
const TOO_MANY: &str = "more notes than may be imported at once";

pub(super) fn read(text: &str) -> Result<Vec<Result<Raw, Problem>>, NotImportable> {
    let notes: Notes = serde_json::from_str(text).map_err(|error| {
        let problem = error.to_string();
        if problem.starts_with(TOO_MANY) {
            NotImportable::TooMany
        } else {
            NotImportable::NotJson(problem)
        }
    })?;
    Ok(notes.0.into_iter().map(|it| Ok(it.into())).collect())
}

/// At most [`MAX_NOTES`]; reading stops at the first one beyond.
struct Notes(Vec<Entry>);

/// What is taken of one object. The other names are those that common programs export.
#[derive(Deserialize)]
struct Entry {
    #[serde(default, alias = "name")]
    title: String,
    #[serde(default, alias = "content", alias = "text")]
    body: Option<String>,
    #[serde(default)]
    tags: Option<Vec<String>>,
    #[serde(default, alias = "created", alias = "createdAt")]
    created_at: Option<String>,
    #[serde(default, alias = "updated", alias = "updatedAt", alias = "modified")]
    updated_at: Option<String>,
}

impl From<Entry> for Raw {
    fn from(entry: Entry) -> Self {
        Self {
            title: entry.title,
            body: entry.body.unwrap_or_default(),
            tags: entry.tags.unwrap_or_default(),
            created_at: entry.created_at,
            updated_at: entry.updated_at,
        }
    }
}

impl<'de> Deserialize<'de> for Notes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NotesVisitor)
    }
}

struct NotesVisitor;

impl<'de> Visitor<'de> for NotesVisitor {
    type Value = Notes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of notes, or an object with one in `notes`")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Notes, A::Error> {
        let mut notes = Vec::new();
        while let Some(note) = items.next_element()? {
            if notes.len() >= MAX_NOTES {
                return Err(A::Error::custom(TOO_MANY));
            }
            notes.push(note);
        }
        Ok(Notes(notes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Notes, A::Error> {
        let mut notes = None;
        while let Some(key) = entries.next_key::<String>()? {
            if key == "notes" && notes.is_none() {
                notes = Some(entries.next_value()?);
            } else {
                entries.next_value::<IgnoredAny>()?;
            }
        }
        notes.ok_or_else(|| A::Error::custom("it is an object without `notes`"))
    }
}

/// Writes a document piece by piece, so that nobody holds all of it.
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
        serde_json::to_writer(&mut self.written, note).expect("a note is plain data");
    }

    /// What was written since the last time.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.written)
    }

    /// Ends the document, and gives what was written since the last time.
    pub fn finish(mut self) -> Vec<u8> {
        self.written.extend_from_slice(b"\n]}\n");
        self.written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn titles(text: &str) -> Vec<String> {
        let notes = read(text).unwrap();
        notes.into_iter().map(|it| it.ok().map(|it| it.title).unwrap_or_default()).collect()
    }

    #[test]
    fn notes_of_other_programs_are_read_too() {
        let text = r#"[
            {"name": "One", "content": "first", "createdAt": "2026-01-31", "colour": "red"},
            {"title": "Two", "text": "second", "tags": null, "body": null}
        ]"#;
        assert!(matches!(read(text), Err(NotImportable::NotJson(_))), "two texts of one note");
        let text = text.replace(r#", "body": null"#, "");
        assert_eq!(titles(&text), ["One", "Two"]);
        let notes = read(&text).unwrap();
        let first = notes.into_iter().next().unwrap().ok().unwrap();
        assert_eq!(
            (first.body.as_str(), first.created_at.as_deref()),
            ("first", Some("2026-01-31"))
        );
    }

    #[test]
    fn an_object_holds_notes_among_other_things() {
        assert_eq!(titles(r#"{"version": {"x": [1]}, "notes": [{"title": "a"}], "z": 1}"#), ["a"]);
        for bad in ["{}", r#"{"note": []}"#, "3", r#""text""#, "[1]", "[{}", r#"{"notes":1}"#] {
            assert!(matches!(read(bad), Err(NotImportable::NotJson(_))), "{bad}");
        }
    }
}
