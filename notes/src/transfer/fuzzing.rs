//! Properties of imports and front matter.

use chrono::DateTime;
use uuid::Uuid;

use super::{
    Document, DocumentFormat, JsonWriter, MAX_NOTES, MAX_WARNINGS, SEPARATOR,
    front_matter::parse_front_matter,
    raw_note::{RawNote, field_of_key},
    read, write_markdown,
};
use crate::{
    note_id::NoteId,
    store::{Body, Note, Tag, Tags, Title},
};

/// A document whose format is detected.
pub(crate) fn any(bytes: &[u8]) {
    import(bytes, None);
}

/// A Markdown document.
pub(crate) fn markdown(bytes: &[u8]) {
    import(bytes, Some(DocumentFormat::Markdown));
}

/// A JSON document.
pub(crate) fn json(bytes: &[u8]) {
    import(bytes, Some(DocumentFormat::Json));
}

/// The notes of a document are within the limits, and are the same after an export in either format
/// and another import.
fn import(bytes: &[u8], format: Option<DocumentFormat>) {
    let Ok(document) = read(bytes, format) else { return };
    assert!(!document.notes.is_empty() && document.notes.len() <= MAX_NOTES);
    assert!(document.warnings.len() <= MAX_WARNINGS);
    let notes: Vec<Note> = document.notes.iter().map(stored).collect();

    let texts: Vec<String> = notes.iter().map(write_markdown).collect();
    let text = texts.join(&format!("{SEPARATOR}\n"));
    // An export is a file, whose name has the format.
    is_unchanged(&notes, read(text.as_bytes(), Some(DocumentFormat::Markdown)));

    let mut writer = JsonWriter::new(DateTime::UNIX_EPOCH);
    for note in &notes {
        writer.push(note);
    }
    let exported = [writer.take(), writer.finish()].concat();
    is_unchanged(&notes, read(&exported, Some(DocumentFormat::Json)));
}

/// Returns the note as the store returns it after the import.
fn stored(note: &super::ImportedNote) -> Note {
    let draft = &note.draft;
    let tags = || draft.tags.iter().cloned();
    assert_eq!(Title::parse(draft.title.as_str()).as_ref(), Ok(&draft.title));
    assert_eq!(Body::parse(draft.body.as_str()).as_ref(), Ok(&draft.body));
    assert_eq!(Tags::parse(tags()).as_ref(), Ok(&draft.tags));
    for tag in tags() {
        assert_eq!(Tag::parse(tag.as_str()), Ok(tag));
    }
    // The databases store microseconds.
    let time = |time: Option<DateTime<chrono::Utc>>| {
        DateTime::from_timestamp_micros(time.unwrap_or_default().timestamp_micros())
            .expect("a time stays a time without its nanoseconds")
    };
    Note {
        id: NoteId(Uuid::nil()),
        title: draft.title.as_str().to_owned(),
        body: draft.body.as_str().to_owned(),
        tags: tags().map(|tag| tag.as_str().to_owned()).collect(),
        created_at: time(note.created_at),
        updated_at: time(note.updated_at),
    }
}

fn is_unchanged(notes: &[Note], read: Result<Document, super::ImportError>) {
    let document = read.expect("an export can be imported");
    assert_eq!(document.warnings, [""; 0], "an export is imported without changes");
    let read: Vec<Note> = document.notes.iter().map(stored).collect();
    assert_eq!(read, notes);
}

/// Front matter with a title and the entries of the input: the fields that notes do not have are kept
/// as written. The first byte `+` chooses TOML.
pub(crate) fn front_matter(bytes: &[u8]) {
    let Ok(entries) = std::str::from_utf8(bytes) else { return };
    match entries.strip_prefix('+') {
        None => yaml(entries),
        Some(entries) => toml(entries),
    }
}

fn yaml(entries: &str) {
    let text = format!("---\ntitle: Anchor\n{entries}\n---\n\nText.\n");
    let (note, rest) = parsed(&text);
    if rest == text {
        // Not front matter, so all of it is text.
        return;
    }
    let kept = note.kept.join("\n");
    for line in text[..text.len() - rest.len()].lines() {
        let is_kept = kept.lines().any(|kept| kept.trim_end() == line.trim_end());
        assert!(is_kept || !has_unknown_key(line), "{line:?} is not kept in {kept:?}");
    }
}

/// Returns whether a line of YAML is certainly an entry of a field that notes do not have.
fn has_unknown_key(line: &str) -> bool {
    let Some((key, _)) = line.split_once(": ") else { return false };
    let is_plain = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_lowercase());
    is_plain && field_of_key(key).is_none()
}

fn toml(entries: &str) {
    let block = format!("title = \"Anchor\"\n{entries}\n");
    let Ok(original) = block.parse::<toml_edit::DocumentMut>() else { return };
    let text = format!("+++\n{block}+++\n\nText.\n");
    let (note, rest) = parsed(&text);
    if rest == text || rest != "Text.\n" {
        // A line of the entries ends the front matter, or it is too long.
        return;
    }
    let kept = note.kept.join("\n");
    let kept: toml_edit::DocumentMut = kept.parse().expect("what is kept is still TOML");
    for (key, item) in original.iter() {
        if field_of_key(key).is_none() {
            let found = kept.get(key).expect("an unknown field is kept");
            assert_eq!(found.to_string(), item.to_string(), "{key} is changed");
        }
    }
}

fn parsed(text: &str) -> (RawNote, &str) {
    let mut note = RawNote::default();
    let rest = parse_front_matter(text, &mut note);
    assert!(text.ends_with(rest), "the text after front matter is not changed");
    (note, rest)
}
