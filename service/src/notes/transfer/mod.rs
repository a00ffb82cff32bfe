//! Notes as documents: what an import reads and an export writes. Pure; nothing here asks a database.
//!
//! Three forms. A [`markdown`] document is one note, or several with a separator line between them;
//! a [`json`] document is an array of notes, or an object that holds one. What an export writes, an
//! import reads back to the letter.

mod json;
mod markdown;

use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use schemars::JsonSchema;
use serde::Deserialize;

pub use self::{
    json::JsonWriter,
    markdown::{SEPARATOR, write as write_markdown},
};
use super::{Body, Draft, Refused, Tag, Tags, Title};

/// The largest document, in bytes: 10,000 notes of a page each.
pub const MAX_BYTES: usize = 16 * 1024 * 1024;

/// The most notes of one document.
pub const MAX_NOTES: usize = 20_000;

/// Problems that are told one by one. Whoever mends these finds the rest at the next try.
const MAX_PROBLEMS: usize = 10;

/// Characters of a title in a message about its note.
const SHOWN_TITLE: usize = 60;

/// The last second of the year 9999: later times cannot be kept by both databases.
const LAST_SECOND: i64 = 253_402_300_799;

/// What a document is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Form {
    /// Markdown, each note with or without YAML front matter (`title`, `tags`, `created_at`,
    /// `updated_at`). Several notes have a line `<!-- notes-mcp: next note -->` between them.
    Markdown,
    /// A JSON array of objects with `title`, `body`, `tags`, `created_at` and `updated_at`, of which
    /// only `title` must be there; or an object with such an array in `notes`.
    Json,
}

/// A note as a document holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// Title, text and tags.
    pub draft: Draft,
    /// When it was created, if the document says so.
    pub created_at: Option<DateTime<Utc>>,
    /// When it was last changed, if the document says so.
    pub updated_at: Option<DateTime<Utc>>,
}

/// Why a document cannot be imported. Nothing of it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotImportable {
    /// More than [`MAX_BYTES`].
    #[error(
        "the document has {0} bytes, and at most {MAX_BYTES} can be imported at once: split it"
    )]
    TooLarge(usize),
    /// More than [`MAX_NOTES`].
    #[error("the document has more than {MAX_NOTES} notes: split it")]
    TooMany,
    /// No note at all.
    #[error("the document holds no note")]
    Empty,
    /// Not UTF-8.
    #[error("the document is not text in UTF-8")]
    NotText,
    /// Not JSON, or none that holds notes.
    #[error("the document is not a JSON array of notes: {0}")]
    NotJson(String),
    /// Some notes are not as they must be.
    #[error("{count} of its notes cannot be imported: {}", problems.join("; "))]
    Notes {
        /// How many.
        count: usize,
        /// What is wrong with the first of them.
        problems: Vec<String>,
    },
}

/// All notes of a document, in its order; or none, if any of them cannot be kept.
pub fn read(text: &str, form: Option<Form>) -> Result<Vec<Incoming>, NotImportable> {
    if text.len() > MAX_BYTES {
        return Err(NotImportable::TooLarge(text.len()));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let found = match form.unwrap_or_else(|| guess(text)) {
        Form::Markdown => markdown::read(text)?,
        Form::Json => json::read(text)?,
    };
    let mut notes = Vec::with_capacity(found.len());
    let mut problems = Vec::new();
    let mut count = 0;
    for (index, raw) in found.into_iter().enumerate() {
        let raw = raw.and_then(|raw| {
            let title = shown(&raw.title);
            raw.check().map_err(|problem| Problem { title, problem })
        });
        match raw {
            Ok(note) => notes.push(note),
            Err(Problem { title, problem }) => {
                count += 1;
                if problems.len() < MAX_PROBLEMS {
                    problems.push(format!("note {}{title}: {problem}", index + 1));
                }
            }
        }
    }
    match (count, notes.is_empty()) {
        (0, true) => Err(NotImportable::Empty),
        (0, false) => Ok(notes),
        _ => Err(NotImportable::Notes { count, problems }),
    }
}

/// The same from bytes.
pub fn read_bytes(bytes: &[u8], form: Option<Form>) -> Result<Vec<Incoming>, NotImportable> {
    let text = std::str::from_utf8(bytes).map_err(|_not_text| NotImportable::NotText)?;
    read(text, form)
}

/// No Markdown begins like this: a link is `[text]`, and a checkbox has a list before it.
fn guess(text: &str) -> Form {
    let mut tokens = text.chars().filter(|it| !it.is_whitespace());
    match (tokens.next(), tokens.next()) {
        (Some('['), Some('{' | ']')) | (Some('{'), Some('"' | '}')) => Form::Json,
        _ => Form::Markdown,
    }
}

/// A note before its limits are checked.
#[derive(Debug, Default)]
struct Raw {
    title: String,
    body: String,
    tags: Vec<String>,
    created_at: Option<String>,
    updated_at: Option<String>,
}

/// What is wrong with a note.
#[derive(Debug)]
struct Problem {
    /// How the note is named, after its number; possibly not at all.
    title: String,
    problem: String,
}

impl Raw {
    fn check(self) -> Result<Incoming, String> {
        let refused = |it: Refused| it.to_string();
        let tags: Result<Vec<_>, _> = self.tags.iter().map(|it| Tag::parse(it)).collect();
        let draft = Draft {
            title: Title::parse(&self.title).map_err(refused)?,
            body: Body::parse(self.body).map_err(refused)?,
            tags: tags.and_then(Tags::parse).map_err(refused)?,
        };
        let time = |it: Option<String>| it.as_deref().map(read_time).transpose();
        let (created_at, updated_at) = (time(self.created_at)?, time(self.updated_at)?);
        Ok(Incoming { draft, created_at, updated_at })
    }
}

/// A point in time as programs and people write it; without a zone it is UTC.
fn read_time(text: &str) -> Result<DateTime<Utc>, String> {
    const LOCAL: [&str; 4] =
        ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"];

    let text = text.trim();
    let time = DateTime::parse_from_rfc3339(text)
        .map(|it| it.to_utc())
        .ok()
        .or_else(|| {
            LOCAL
                .iter()
                .find_map(|it| NaiveDateTime::parse_from_str(text, it).ok())
                .map(|it| it.and_utc())
        })
        .or_else(|| {
            let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
            Some(date.and_hms_opt(0, 0, 0)?.and_utc())
        });
    match time {
        Some(time) if (0..=LAST_SECOND).contains(&time.timestamp()) => Ok(time),
        _ => Err(format!(
            "“{}” is not a time such as 2026-01-31T12:00:00Z or 2026-01-31, from 1970 to 9999",
            shorten(text, SHOWN_TITLE)
        )),
    }
}

fn shown(title: &str) -> String {
    match title.trim() {
        "" => String::new(),
        title => format!(" (“{}”)", shorten(title, SHOWN_TITLE)),
    }
}

fn shorten(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use entity::NoteId;
    use proptest::{collection::vec, prelude::*};
    use uuid::Uuid;

    use super::*;
    use crate::notes::Note;

    fn titles(text: &str) -> Vec<String> {
        let notes = read(text, None).unwrap();
        notes.into_iter().map(|it| it.draft.title.into_string()).collect()
    }

    #[test]
    fn the_form_is_told_from_the_beginning() {
        for (text, form) in [
            ("[{\"title\": \"a\"}]", Form::Json),
            (" [\n {", Form::Json),
            ("[]", Form::Json),
            ("{\"notes\": []}", Form::Json),
            ("{}", Form::Json),
            ("[link](https://example.com)", Form::Markdown),
            ("[x] done", Form::Markdown),
            ("{curly}", Form::Markdown),
            ("---\ntitle: a\n---\n", Form::Markdown),
            ("", Form::Markdown),
        ] {
            assert_eq!(guess(text), form, "{text}");
        }
        assert_eq!(titles("\u{feff}[{\"title\": \"a\"}]"), ["a"], "a byte order mark is no text");
    }

    #[test]
    fn all_or_nothing_is_read_and_every_problem_named() {
        let text = r#"[{"title":"fine"},{"title":""},{"title":"Long","body":"x","tags":[""]},
            {"title":"When","created_at":"yesterday"}]"#;
        let sentence = read(text, None).unwrap_err().to_string();
        assert!(sentence.starts_with("3 of its notes cannot be imported: note 2: "), "{sentence}");
        assert!(sentence.contains("note 3 (“Long”): a tag has 1 to 40 characters"), "{sentence}");
        assert!(sentence.contains("note 4 (“When”): “yesterday” is not a time"), "{sentence}");

        let many = format!("[{}]", vec![r#"{"title":""}"#; 50].join(","));
        let sentence = read(&many, None).unwrap_err().to_string();
        assert!(sentence.starts_with("50 of its notes"), "{sentence}");
        assert_eq!(sentence.matches("note ").count(), MAX_PROBLEMS, "{sentence}");
    }

    #[test]
    fn limits_are_kept_before_anything_is_read() {
        let large = " ".repeat(MAX_BYTES + 1);
        assert_eq!(read(&large, None), Err(NotImportable::TooLarge(MAX_BYTES + 1)));
        let many = format!("[{}{{}}]", "{},".repeat(MAX_NOTES));
        assert_eq!(read(&many, None), Err(NotImportable::TooMany));
        let many = format!("a\n{SEPARATOR}\n").repeat(MAX_NOTES + 1);
        assert_eq!(read(&many, None), Err(NotImportable::TooMany));
        for empty in ["", " \n", "[]", r#"{"notes":[]}"#] {
            assert_eq!(read(empty, None), Err(NotImportable::Empty), "{empty}");
        }
        assert_eq!(read_bytes(&[0xff], None), Err(NotImportable::NotText));
    }

    #[test]
    fn times_are_read_as_people_write_them() {
        for (text, time) in [
            ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00+00:00"),
            ("2026-01-31T12:00:00.5+02:00", "2026-01-31T10:00:00.500+00:00"),
            ("2026-01-31T12:00:01", "2026-01-31T12:00:01+00:00"),
            ("2026-01-31 12:00", "2026-01-31T12:00:00+00:00"),
            (" 2026-01-31 ", "2026-01-31T00:00:00+00:00"),
        ] {
            assert_eq!(read_time(text).unwrap().to_rfc3339(), time, "{text}");
        }
        for bad in ["", "now", "31.1.2026", "1969-12-31", "+10000-01-01T00:00:00Z", "2026-02-30"] {
            assert!(read_time(bad).is_err(), "{bad}");
        }
    }

    /// Any note that can be kept.
    pub(super) fn any_note() -> impl Strategy<Value = Note> {
        let title = "\\PC{1,20}".prop_filter_map("a title", |it| Title::parse(&it).ok());
        let tags = vec("\\PC{1,8}".prop_filter_map("a tag", |it| Tag::parse(&it).ok()), 0..4);
        let body = "(\\PC|\n|\r\n|---\n|<!-- notes-mcp: next note -->\n?|\\\\|\t|# ){0,12}";
        let times = (0_i64..4_000_000_000_000_000, 0_i64..4_000_000_000_000_000);
        (any::<[u8; 16]>(), title, body, tags, times).prop_map(|(id, title, body, tags, times)| {
            let time = |it| DateTime::from_timestamp_micros(it).expect("before the year 9999");
            let tags = Tags::parse(tags).expect("a few tags");
            Note {
                id: NoteId(Uuid::from_bytes(id)),
                title: title.into_string(),
                body,
                tags: tags.iter().map(|it| it.as_str().to_owned()).collect(),
                created_at: time(times.0),
                updated_at: time(times.1),
            }
        })
    }

    fn same(notes: &[Note], read: &[Incoming]) -> Result<(), TestCaseError> {
        prop_assert_eq!(notes.len(), read.len());
        for (note, read) in notes.iter().zip(read) {
            prop_assert_eq!(&note.title, read.draft.title.as_str());
            prop_assert_eq!(&note.body, read.draft.body.as_str());
            let tags: Vec<_> = read.draft.tags.iter().map(Tag::as_str).collect();
            prop_assert_eq!(&note.tags, &tags);
            prop_assert_eq!(Some(note.created_at), read.created_at);
            prop_assert_eq!(Some(note.updated_at), read.updated_at);
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn what_is_written_as_markdown_is_read_back(notes in vec(any_note(), 1..4)) {
            let texts: Vec<_> = notes.iter().map(write_markdown).collect();
            let text = texts.join(&format!("{SEPARATOR}\n"));
            same(&notes, &read(&text, None).unwrap())?;
        }

        #[test]
        fn what_is_written_as_json_is_read_back(notes in vec(any_note(), 1..4)) {
            let mut writer = JsonWriter::new(DateTime::UNIX_EPOCH);
            for note in &notes {
                writer.push(note);
            }
            let bytes = [writer.take(), writer.finish()].concat();
            same(&notes, &read_bytes(&bytes, None).unwrap())?;
        }

        #[test]
        fn any_text_is_read_or_refused_without_a_panic(text in "(\\PC|\n|---\n|title: |[\\[\\]{}\":,]){0,60}") {
            drop(read(&text, None));
            drop(read(&text, Some(Form::Json)));
            drop(read(&text, Some(Form::Markdown)));
        }
    }
}
