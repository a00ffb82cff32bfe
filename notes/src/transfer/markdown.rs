//! Reads and writes Markdown: YAML front matter, an empty line, the text, a line end. Notes are
//! separated by a line with [`SEPARATOR`]; such a line in the text of a note is escaped with a
//! backslash.
//!
//! Notes that [`write()`] has written are read back unchanged. Documents of other programs are
//! normalized: line ends become `\n`, and without a title in the front matter, the title is the
//! first heading, the file name, or the first line.

use std::{borrow::Cow, fmt::Write as _};

use chrono::{DateTime, SecondsFormat, Utc};

use super::{
    document::{ImportError, MAX_NOTES},
    front_matter,
    raw_note::RawNote,
};
use crate::store::Note;

/// The line between two notes of a document. A comment, so renderers do not show it.
pub const SEPARATOR: &str = "<!-- notes-mcp: next note -->";

/// The first and last line of front matter.
const FENCE: &str = "---";

/// The minimum length, in letters and digits, at which a file name matches a title that only begins
/// with it.
const NAME_PREFIX: usize = 20;

/// Formats a note as a document.
pub fn write(note: &Note) -> String {
    let time = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::AutoSi, true);
    let tags: Vec<_> = note.tags.iter().map(|tag| quoted(tag)).collect();
    let mut text = format!(
        "{FENCE}\ntitle: {}\ntags: [{}]\ncreated_at: {}\nupdated_at: {}\n{FENCE}\n\n",
        quoted(&note.title),
        tags.join(", "),
        time(note.created_at),
        time(note.updated_at),
    );
    for line in note.body.split_inclusive('\n') {
        if is_escaped_separator(line) {
            text.push('\\');
        }
        text.push_str(line);
    }
    text.push('\n');
    text
}

/// Reads the notes of a document. `name` is the file name without the extension.
pub(super) fn read(text: &str, name: Option<&str>) -> Result<Vec<RawNote>, ImportError> {
    let mut notes = Vec::new();
    for piece in split(text).filter(|piece| !piece.trim().is_empty()) {
        if notes.len() >= MAX_NOTES {
            return Err(ImportError::TooMany);
        }
        notes.push(read_one(piece, name));
    }
    Ok(notes)
}

/// Splits a document at its separators.
fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let mut end = 0;
        for line in text.split_inclusive('\n') {
            if line.trim_end() == SEPARATOR {
                rest = Some(&text[end + line.len()..]);
                return Some(&text[..end]);
            }
            end += line.len();
        }
        rest = None;
        Some(text)
    })
}

fn read_one(piece: &str, name: Option<&str>) -> RawNote {
    if let Some(note) = read_native(piece) {
        return note;
    }
    let piece = with_plain_line_ends(piece);
    let mut raw = RawNote::default();
    let body = without_last_line_end(front_matter::parse_front_matter(&piece, &mut raw));
    let body = if raw.title.is_some() { body } else { take_title(body, name, &mut raw) };
    raw.body = unescaped(body);
    raw
}

/// Reads a note that [`write()`] has written. `None`: its front matter has another form.
fn read_native(piece: &str) -> Option<RawNote> {
    let mut lines = piece.splitn(7, '\n');
    let mut line = |key| lines.next()?.strip_prefix(key);
    if !line(FENCE)?.is_empty() {
        return None;
    }
    let title = serde_json::from_str(line("title: ")?).ok()?;
    let tags = serde_json::from_str(line("tags: ")?).ok()?;
    let created_at = DateTime::parse_from_rfc3339(line("created_at: ")?).ok()?;
    let updated_at = DateTime::parse_from_rfc3339(line("updated_at: ")?).ok()?;
    if !line(FENCE)?.is_empty() {
        return None;
    }
    let body = line("\n")?;
    Some(RawNote {
        is_native: true,
        title: Some(title),
        tags,
        body: unescaped(without_last_line_end(body)),
        created_at: Some(created_at.to_utc()),
        updated_at: Some(updated_at.to_utc()),
        ..RawNote::default()
    })
}

/// Sets the title of a text without front matter, and returns the text. A heading that becomes the
/// title is removed.
fn take_title<'a>(text: &'a str, name: Option<&str>, raw: &mut RawNote) -> &'a str {
    match (heading(text), name) {
        (Some((title, rest)), None) => {
            raw.title = Some(title.to_owned());
            rest
        }
        (Some((title, rest)), Some(name)) if is_named(title, name) => {
            raw.title = Some(title.to_owned());
            rest
        }
        (_, Some(name)) => {
            raw.title = Some(name.to_owned());
            text
        }
        (None, None) => text,
    }
}

/// Returns the heading at the beginning of a text, and the text after it.
fn heading(text: &str) -> Option<(&str, &str)> {
    let start = text.trim_start();
    let line = start.split_inclusive('\n').next()?;
    let content = line.trim();
    let title = content.trim_start_matches('#');
    let level = content.len() - title.len();
    let is_heading = (1..=6).contains(&level) && title.starts_with([' ', '\t']);
    let title = title.trim();
    (is_heading && !title.is_empty())
        .then(|| (title, start[line.len()..].trim_start_matches(['\r', '\n'])))
}

/// Returns whether a file name was derived from a title: without characters that file systems do
/// not allow, and possibly truncated.
fn is_named(title: &str, name: &str) -> bool {
    let plain = |text: &str| -> String {
        text.chars()
            .filter(|character| character.is_alphanumeric())
            .flat_map(char::to_lowercase)
            .collect()
    };
    let (title, name) = (plain(title), plain(name));
    title == name || (name.chars().count() >= NAME_PREFIX && title.starts_with(&name))
}

/// Replaces the line ends of Windows and of old Macs by `\n`.
pub(super) fn with_plain_line_ends(text: &str) -> Cow<'_, str> {
    if !text.contains('\r') {
        Cow::Borrowed(text)
    } else if text.contains('\n') {
        Cow::Owned(text.replace("\r\n", "\n"))
    } else {
        Cow::Owned(text.replace('\r', "\n"))
    }
}

fn without_last_line_end(text: &str) -> &str {
    text.strip_suffix('\n').unwrap_or(text)
}

/// Returns whether a line is a separator, possibly escaped.
fn is_escaped_separator(line: &str) -> bool {
    line.trim_end().trim_start_matches('\\') == SEPARATOR
}

fn unescaped(body: &str) -> String {
    body.split_inclusive('\n')
        .map(|line| match line.strip_prefix('\\') {
            Some(original) if is_escaped_separator(line) => original,
            _ => line,
        })
        .collect()
}

/// Quotes a text for YAML. A JSON string is a YAML string too, except for characters that YAML
/// requires to be escaped.
fn quoted(text: &str) -> String {
    let json = serde_json::to_string(text).expect("a string can be serialized");
    let mut quoted = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            '\u{7f}'..='\u{9f}'
            | '\u{2028}'
            | '\u{2029}'
            | '\u{feff}'
            | '\u{fffe}'
            | '\u{ffff}' => {
                write!(quoted, "\\u{:04x}", u32::from(character))
                    .expect("writing to a String cannot fail");
            }
            other => quoted.push(other),
        }
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str, name: Option<&str>) -> RawNote {
        let mut notes = read(text, name).unwrap();
        assert_eq!(notes.len(), 1, "{text}");
        notes.remove(0)
    }

    #[test]
    fn a_title_is_found_without_front_matter() {
        for (text, title, body) in [
            ("# Tea\n\nGreen\n", Some("Tea"), "Green"),
            ("\n\n## Tea\r\nGreen", Some("Tea"), "Green"),
            ("Tea\nGreen\n", None, "Tea\nGreen"),
            ("Tea\rGreen\r", None, "Tea\nGreen"),
            ("#hashtag\n", None, "#hashtag"),
            ("# \nText", None, "# \nText"),
            ("---\n---\n# Tea\n", Some("Tea"), ""),
            ("---\ntags: [a]\n---\n# Tea\nGreen", Some("Tea"), "Green"),
            ("---\r\ntags: [a]\r\n---\r\n\r\n# Tea\r\n\r\nGreen\r\n", Some("Tea"), "Green"),
            ("---\nDose: 5 mg\n---\n# Tea\n", None, "---\nDose: 5 mg\n---\n# Tea"),
        ] {
            let note = one(text, None);
            assert_eq!((note.title.as_deref(), note.body.as_str()), (title, body), "{text:?}");
        }
    }

    #[test]
    fn the_name_of_a_file_is_its_title() {
        for (text, name, title, body) in [
            ("Green", "Tea", "Tea", "Green"),
            ("# Agenda\nGreen", "Meeting", "Meeting", "# Agenda\nGreen"),
            ("# Tea / Milk\nGreen", "Tea - Milk", "Tea / Milk", "Green"),
            (
                "# A rather long title of a page, which goes on\nText",
                "A rather long title of a pa",
                "A rather long title of a page, which goes on",
                "Text",
            ),
            ("---\ntitle: T\n---\n# Tea", "File", "T", "# Tea"),
        ] {
            let note = one(text, Some(name));
            assert_eq!(
                (note.title.as_deref(), note.body.as_str()),
                (Some(title), body),
                "{text:?}"
            );
        }
    }

    #[test]
    fn a_separator_separates_unless_it_is_escaped() {
        let text =
            format!("# One\n{SEPARATOR}\r\n# Two\n\\{SEPARATOR}\n\\\\{SEPARATOR}\n{SEPARATOR}\n");
        let notes = read(&text, None).unwrap();
        let titles: Vec<_> = notes.iter().filter_map(|note| note.title.as_deref()).collect();
        assert_eq!(titles, ["One", "Two"], "empty pieces are not notes");
        assert_eq!(notes[1].body, format!("{SEPARATOR}\n\\{SEPARATOR}"));
    }
}
