//! Notes as Markdown: YAML front matter, an empty line, the text, a line end. Between two notes
//! stands [`SEPARATOR`] on a line of its own; where it stands in a text, a backslash goes before it.
//!
//! Documents of other programs are read as well: without front matter, the first heading is the
//! title, or else the first line.

use std::fmt::{self, Write as _};

use chrono::SecondsFormat;
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::{MAX_NOTES, NotImportable, Problem, Raw, shorten};
use crate::notes::{MAX_TITLE, Note};

/// The line between two notes of one document. Nothing is shown where it stands.
pub const SEPARATOR: &str = "<!-- notes-mcp: next note -->";

/// How front matter begins and ends.
const FENCE: &str = "---";

/// The longest front matter, in bytes. Ours has at most 4 kB.
const MAX_FRONT_MATTER: usize = 16 * 1024;

/// Characters of what the YAML parser says.
const SHOWN_PROBLEM: usize = 200;

/// A note as a document.
pub fn write(note: &Note) -> String {
    let time = |it: chrono::DateTime<chrono::Utc>| it.to_rfc3339_opts(SecondsFormat::AutoSi, true);
    let tags: Vec<_> = note.tags.iter().map(|it| quoted(it)).collect();
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

pub(super) fn read(text: &str) -> Result<Vec<Result<Raw, Problem>>, NotImportable> {
    let mut notes = Vec::new();
    for piece in split(text).filter(|it| !it.trim().is_empty()) {
        if notes.len() >= MAX_NOTES {
            return Err(NotImportable::TooMany);
        }
        notes.push(read_one(piece));
    }
    Ok(notes)
}

/// The texts between separators.
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

fn read_one(piece: &str) -> Result<Raw, Problem> {
    let Some((front_matter, rest)) = front_matter(piece) else {
        let (title, body) = titled(without_last_line_end(piece));
        return Ok(Raw { title, body: unescaped(body), ..Raw::default() });
    };
    let problem = |problem| Problem { title: String::new(), problem };
    if front_matter.len() > MAX_FRONT_MATTER {
        return Err(problem(format!(
            "its front matter has {} bytes, and at most {MAX_FRONT_MATTER} are read",
            front_matter.len()
        )));
    }
    let found: FrontMatter = if front_matter.trim().is_empty() {
        FrontMatter::default()
    } else {
        serde_saphyr::from_str(front_matter).map_err(|error| {
            let error = error.to_string();
            let line = error.lines().next().unwrap_or_default();
            problem(format!("its front matter cannot be read: {}", shorten(line, SHOWN_PROBLEM)))
        })?
    };
    let body = without_last_line_end(without_first_line_end(rest));
    let (title, body) = match found.title {
        Some(title) => (title, body),
        None => titled(body),
    };
    Ok(Raw {
        title,
        body: unescaped(body),
        tags: found.tags.0,
        created_at: found.created_at,
        updated_at: found.updated_at,
    })
}

/// What stands between the fences at the beginning, and what follows, if there are two.
fn front_matter(piece: &str) -> Option<(&str, &str)> {
    let is_fence = |line: &str| line.trim_end() == FENCE;
    let first = piece.split_inclusive('\n').next().filter(|it| is_fence(it))?;
    let inside = &piece[first.len()..];
    let mut end = 0;
    for line in inside.split_inclusive('\n') {
        if is_fence(line) {
            return Some((&inside[..end], &inside[end + line.len()..]));
        }
        end += line.len();
    }
    None
}

/// The title of a text that does not name it, and the text. A heading at the beginning goes into the
/// title and is not repeated.
fn titled(text: &str) -> (String, &str) {
    let mut end = 0;
    for line in text.split_inclusive('\n') {
        end += line.len();
        let content = line.trim();
        if content.is_empty() {
            continue;
        }
        let heading = content.trim_start_matches('#');
        let level = content.len() - heading.len();
        let is_heading = (1..=6).contains(&level) && heading.starts_with([' ', '\t']);
        return match heading.trim() {
            title if is_heading && !title.is_empty() && title.chars().count() <= MAX_TITLE => {
                (title.to_owned(), text[end..].trim_start_matches(['\r', '\n']))
            }
            _ => (content.chars().filter(|it| !it.is_control()).take(MAX_TITLE).collect(), text),
        };
    }
    (String::new(), text)
}

fn without_first_line_end(text: &str) -> &str {
    text.strip_prefix('\n').or_else(|| text.strip_prefix("\r\n")).unwrap_or(text)
}

fn without_last_line_end(text: &str) -> &str {
    text.strip_suffix('\n').unwrap_or(text)
}

/// Whether a line would be taken for a separator, or was written so that it is not.
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

/// A JSON string is a YAML string too, once what YAML cannot hold as it is is written as an escape.
fn quoted(text: &str) -> String {
    let json = serde_json::to_string(text).expect("a string is plain data");
    let mut quoted = String::with_capacity(json.len());
    for it in json.chars() {
        match it {
            '\u{7f}'..='\u{9f}'
            | '\u{2028}'
            | '\u{2029}'
            | '\u{feff}'
            | '\u{fffe}'
            | '\u{ffff}' => {
                write!(quoted, "\\u{:04x}", u32::from(it))
                    .expect("writing to a String cannot fail");
            }
            it => quoted.push(it),
        }
    }
    quoted
}

/// What is taken of front matter. The other names are those that common programs write; what has
/// none of these is left away.
#[derive(Default)]
struct FrontMatter {
    title: Option<String>,
    tags: TagNames,
    created_at: Option<String>,
    updated_at: Option<String>,
}

impl<'de> Deserialize<'de> for FrontMatter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FrontMatterVisitor)
    }
}

struct FrontMatterVisitor;

impl<'de> Visitor<'de> for FrontMatterVisitor {
    type Value = FrontMatter;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("lines such as `title: A title`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<FrontMatter, A::Error> {
        let mut found = FrontMatter::default();
        while let Some(key) = entries.next_key::<String>()? {
            match key.as_str() {
                "title" => found.title = entries.next_value()?,
                "tags" | "keywords" => found.tags = entries.next_value()?,
                "created_at" | "created" | "date" => found.created_at = entries.next_value()?,
                "updated_at" | "updated" | "modified" | "lastmod" => {
                    found.updated_at = entries.next_value()?;
                }
                _ => drop(entries.next_value::<IgnoredAny>()?),
            }
        }
        Ok(found)
    }
}

/// A sequence, or one text with commas in it.
#[derive(Default)]
struct TagNames(Vec<String>);

impl<'de> Deserialize<'de> for TagNames {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TagsVisitor)
    }
}

struct TagsVisitor;

impl<'de> Visitor<'de> for TagsVisitor {
    type Value = TagNames;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of tags")
    }

    fn visit_unit<E>(self) -> Result<TagNames, E> {
        Ok(TagNames::default())
    }

    fn visit_str<E>(self, text: &str) -> Result<TagNames, E> {
        let names = text.split(',').map(str::trim).filter(|it| !it.is_empty());
        Ok(TagNames(names.map(str::to_owned).collect()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<TagNames, E> {
        Ok(TagNames(vec![number.to_string()]))
    }

    fn visit_i64<E>(self, number: i64) -> Result<TagNames, E> {
        Ok(TagNames(vec![number.to_string()]))
    }

    fn visit_f64<E>(self, number: f64) -> Result<TagNames, E> {
        Ok(TagNames(vec![number.to_string()]))
    }

    fn visit_bool<E>(self, truth: bool) -> Result<TagNames, E> {
        Ok(TagNames(vec![truth.to_string()]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<TagNames, A::Error> {
        let mut names = Vec::new();
        while let Some(name) = items.next_element()? {
            names.push(name);
        }
        Ok(TagNames(names))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Raw {
        let mut notes = read(text).unwrap();
        assert_eq!(notes.len(), 1, "{text}");
        notes.remove(0).unwrap()
    }

    #[test]
    fn front_matter_of_common_programs_is_read() {
        for (front_matter, title, tags, created) in [
            ("title: Plain", "Plain", &[][..], None),
            ("title: \"Quo\\u0074ed: yes\"", "Quoted: yes", &[], None),
            ("title: 'It''s'\ntags: [a, \"b c\"]", "It's", &["a", "b c"], None),
            ("title: 2024\ntags:\n  - x\n  - 7\n", "2024", &["x", "7"], None),
            ("title: true\ntags: one, two", "true", &["one", "two"], None),
            ("title: T\ntags: 2024\ndate: 2026-01-31", "T", &["2024"], Some("2026-01-31")),
            ("title: >\n  folded\n  text\ntags:", "folded text", &[], None),
            ("Title: no\ntitle: T\naliases: [x]\nnested:\n  a: {b: c}", "T", &[], None),
            ("title: T\ncreated: 2026-01-31T10:00:00Z", "T", &[], Some("2026-01-31T10:00:00Z")),
        ] {
            let note = one(&format!("---\n{front_matter}\n---\n\nText\n"));
            assert_eq!(note.title.trim_end(), title, "{front_matter}");
            assert_eq!(note.tags, tags, "{front_matter}");
            assert_eq!(note.created_at.as_deref(), created, "{front_matter}");
            assert_eq!(note.body, "Text", "{front_matter}");
        }
    }

    #[test]
    fn a_title_is_found_without_front_matter() {
        for (text, title, body) in [
            ("# Tea\n\nGreen\n", "Tea", "Green"),
            ("\n\n## Tea\r\nGreen", "Tea", "Green"),
            ("Tea\nGreen\n", "Tea", "Tea\nGreen"),
            ("#hashtag\n", "#hashtag", "#hashtag"),
            ("# \nText", "#", "# \nText"),
            ("---\nA rule, and no end of it", "---", "---\nA rule, and no end of it"),
            ("---\n---\n# Tea\n", "Tea", ""),
            ("---\ntags: [a]\n---\n# Tea\nGreen", "Tea", "Green"),
        ] {
            let note = one(text);
            assert_eq!((note.title.as_str(), note.body.as_str()), (title, body), "{text:?}");
        }
        let long = "x".repeat(300);
        let note = one(&long);
        assert_eq!((note.title.len(), note.body.len()), (MAX_TITLE, 300));
    }

    #[test]
    fn a_separator_separates_unless_it_is_escaped() {
        let text =
            format!("# One\n{SEPARATOR}\r\n# Two\n\\{SEPARATOR}\n\\\\{SEPARATOR}\n{SEPARATOR}\n");
        let notes: Vec<_> = read(&text).unwrap().into_iter().map(Result::unwrap).collect();
        let titles: Vec<_> = notes.iter().map(|it| it.title.as_str()).collect();
        assert_eq!(titles, ["One", "Two"], "what is empty is no note");
        assert_eq!(notes[1].body, format!("{SEPARATOR}\n\\{SEPARATOR}"));
    }

    #[test]
    fn front_matter_that_cannot_be_read_is_a_problem() {
        for bad in ["title: [", "a: b: c", "- x", "just text", "title: {a: b}"] {
            let text = format!("---\n{bad}\n---\nText");
            let problem = read(&text).unwrap().remove(0).unwrap_err().problem;
            assert!(problem.starts_with("its front matter cannot be read"), "{bad}: {problem}");
            assert!(!problem.contains('\n'), "{problem}");
        }
        let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c \
                    [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: \
                    [*d,*d,*d,*d,*d,*d,*d,*d,*d]\ntitle: T";
        drop(read(&format!("---\n{bomb}\n---\n")));
        let large = format!("---\ntitle: T\nx: {}\n---\n", "y".repeat(MAX_FRONT_MATTER));
        let problem = read(&large).unwrap().remove(0).unwrap_err().problem;
        assert!(problem.contains("at most 16384"), "{problem}");
    }
}
