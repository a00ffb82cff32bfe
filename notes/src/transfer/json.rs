//! Notes as JSON: an array, or an object that holds one in `notes`, as an export writes it; and what
//! other programs export, see [`super::programs`].

use std::{borrow::Cow, fmt};

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Value, value::RawValue};

use super::{MAX_NOTES, NotImportable, Reading, markdown, programs, raw::Raw};
use crate::store::Note;

/// Says what a file is, to whoever finds it.
const FORMAT: &str = "notes-mcp";

/// What a reader of another version has to know.
const VERSION: u8 = 1;

/// The largest JSON of one note, in bytes: forty times the text that a note holds. What it becomes in
/// memory is larger.
const MAX_NOTE_BYTES: usize = 4 * 1024 * 1024;

/// The most entries of the outermost object: a note or a backup has a few dozen.
const MAX_ENTRIES: usize = 1_000;

/// How the reader tells that there are too many from everything else that may be wrong.
const TOO_MANY: &str = "more notes than may be imported at once";

/// The outermost value of a document, whose parts are not read yet.
pub(super) enum Top<'a> {
    List(Vec<&'a RawValue>),
    Object(Vec<(String, &'a RawValue)>),
}

/// Reads a document of one value, of one object after another, or of an object as front matter with a
/// text behind it.
pub(super) fn read(text: &str, reading: &mut Reading) -> Result<(), NotImportable> {
    let text = &*with_whole_surrogates(text, reading);
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Top<'_>>();
    let first = values.next().unwrap_or_else(|| Err(serde_json::Error::custom("it is empty")));
    let first = first.map_err(|it| not_json(&it))?;
    let rest = text[values.byte_offset()..].trim_start();
    match first {
        first if rest.is_empty() => programs::read(first, reading),
        Top::Object(entries) if !rest.starts_with(['{', '[', ']', '}', ',']) => {
            let mut raw = programs::object(&whole(&entries)?).ok_or_else(not_a_note)?;
            raw.body = markdown::with_plain_line_ends(rest).into_owned();
            reading.add(raw)
        }
        first => {
            let mut lines = vec![first];
            for value in values {
                if lines.len() >= MAX_NOTES {
                    return Err(NotImportable::TooMany);
                }
                lines.push(value.map_err(|it| not_json(&it))?);
            }
            for line in lines {
                programs::read(line, reading)?;
            }
            Ok(())
        }
    }
}

fn not_json(error: &serde_json::Error) -> NotImportable {
    let problem = error.to_string();
    if problem.starts_with(TOO_MANY) {
        NotImportable::TooMany
    } else {
        NotImportable::NotJson(problem)
    }
}

/// The outermost value holds nothing that looks like a note.
pub(super) fn not_a_note() -> NotImportable {
    NotImportable::NotJson("it is an object without `notes`, and not a note itself".into())
}

/// All of an object.
pub(super) fn whole(
    entries: &[(String, &RawValue)],
) -> Result<serde_json::Map<String, Value>, NotImportable> {
    entries
        .iter()
        .map(|(key, text)| {
            let value = value(text).ok_or_else(not_a_note)?;
            Ok((key.clone(), value))
        })
        .collect()
}

/// A part of a document, unless it is too large for a note.
pub(super) fn value(text: &RawValue) -> Option<Value> {
    if text.get().len() > MAX_NOTE_BYTES {
        return None;
    }
    // Its syntax was checked with the document; what can still fail is a number out of range.
    serde_json::from_str(text.get()).ok()
}

/// Halves of surrogate pairs, which some programs leave when they cut a text, become U+FFFD: JSON
/// with them is no valid text, and none of it could be read.
fn with_whole_surrogates<'a>(text: &'a str, reading: &mut Reading) -> Cow<'a, str> {
    if !text.contains("\\ud") && !text.contains("\\uD") {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let unit = |at: usize| -> Option<u16> {
        let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
        u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    let mut mended = String::with_capacity(text.len());
    let (mut at, mut copied, mut halves) = (0, 0, 0_usize);
    while let Some(step) = text[at..].find('\\') {
        at += step;
        at += match (unit(at), unit(at + 6)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
            (Some(0xd800..=0xdfff), _) => {
                mended.push_str(&text[copied..at]);
                mended.push_str("\\ufffd");
                copied = at + 6;
                halves += 1;
                6
            }
            (Some(_), _) => 6,
            // A backslash and the character it stands before.
            (None, _) => 1 + text[at + 1..].chars().next().map_or(0, char::len_utf8),
        };
    }
    if halves == 0 {
        return Cow::Borrowed(text);
    }
    reading
        .warn(format!("{halves} halves of surrogate pairs in its texts were replaced by U+FFFD"));
    mended.push_str(&text[copied..]);
    Cow::Owned(mended)
}

impl<'de> Deserialize<'de> for Top<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TopVisitor)
    }
}

struct TopVisitor;

impl<'de> Visitor<'de> for TopVisitor {
    type Value = Top<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of notes, or an object with one in `notes`")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Top<'de>, A::Error> {
        let mut notes = Vec::new();
        while let Some(note) = items.next_element()? {
            if notes.len() >= MAX_NOTES {
                return Err(A::Error::custom(TOO_MANY));
            }
            notes.push(note);
        }
        Ok(Top::List(notes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Top<'de>, A::Error> {
        let mut found = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            if found.len() >= MAX_ENTRIES {
                return Err(A::Error::custom("it is an object with too many entries"));
            }
            found.push(entry);
        }
        Ok(Top::Object(found))
    }
}

/// A note as [`JsonWriter`] writes it: taken over to the letter.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Own {
    #[serde(rename = "id")]
    _id: uuid::Uuid,
    title: String,
    body: String,
    tags: Vec<String>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

/// Whether the entries of a document say that [`JsonWriter`] has written it.
pub(super) fn is_own(entries: &[(String, &RawValue)]) -> bool {
    let says = |key: &str, value: &str| {
        entries.iter().any(|(name, text)| name == key && text.get() == value)
    };
    says("format", &format!("\"{FORMAT}\"")) && says("version", &VERSION.to_string())
}

/// A note that [`JsonWriter`] has written. `None`: it was changed since.
pub(super) fn own(text: &RawValue) -> Option<Raw> {
    let own: Own = mcp::json::from_str(text.get()).ok()?;
    Some(Raw {
        is_own: true,
        title: Some(own.title),
        body: own.body,
        tags: own.tags,
        created_at: Some(own.created_at),
        updated_at: Some(own.updated_at),
        ..Raw::default()
    })
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
        let mut reading = Reading::default();
        read(text, &mut reading).unwrap();
        reading.notes.into_iter().map(|it| it.draft.title.into_string()).collect()
    }

    #[test]
    fn an_object_holds_notes_among_other_things() {
        assert_eq!(titles(r#"{"version": {"x": [1]}, "notes": [{"title": "a"}], "z": 1}"#), ["a"]);
        assert_eq!(titles(r#"{"data": [{"title": "a"}, "b"]}"#), ["a", "b"]);
        assert_eq!(titles(r#"{"title": "a", "body": "b"}"#), ["a"]);
        assert_eq!(titles("{\"title\": \"a\"}\n{\"title\": \"b\"}\n"), ["a", "b"]);
        assert_eq!(titles("{\"title\": \"a\"}\n\n# Text\n"), ["a"]);
        for bad in ["{}", r#"{"note": []}"#, "3", r#""text""#, "[1]", "[{}", r#"{"notes":1}"#] {
            let error = read(bad, &mut Reading::default());
            assert!(matches!(error, Err(NotImportable::NotJson(_))), "{bad}: {error:?}");
        }
    }

    #[test]
    fn halves_of_surrogate_pairs_do_not_refuse_a_document() {
        let mut reading = Reading::default();
        let text = r#"[{"title": "\ud83d\ude00 \ud83d", "body": "\\ud83d \udE00x\ud83d\n"}]"#;
        read(text, &mut reading).unwrap();
        let note = &reading.notes[0].draft;
        assert_eq!(note.title.as_str(), "😀 \u{fffd}");
        assert_eq!(note.body.as_str(), "\\ud83d \u{fffd}x\u{fffd}\n");
        assert_eq!(reading.warnings.len(), 1);
    }
}
