//! Reads JSON: an array of notes, an object with such an array in `notes`, as an export writes it,
//! or the export of another program ([`super::programs`]).

use std::borrow::Cow;

use serde::de::Error as _;

use super::{
    builder::DocumentBuilder,
    document::{ImportError, MAX_NOTES},
    json_parts::{TopLevel, all_entries, not_a_note, not_json},
    markdown, programs,
};

/// Reads a document that is a single value, a sequence of values (JSON Lines), or an object as
/// front matter followed by text.
pub(super) fn read(text: &str, builder: &mut DocumentBuilder) -> Result<(), ImportError> {
    let text = &*with_replaced_surrogates(text, builder);
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<TopLevel<'_>>();
    let first = values.next().unwrap_or_else(|| Err(serde_json::Error::custom("it is empty")));
    let first = first.map_err(|error| not_json(&error))?;
    let rest = text[values.byte_offset()..].trim_start();
    match first {
        first if rest.is_empty() => programs::read(first, builder),
        TopLevel::Object(entries) if !rest.starts_with(['{', '[', ']', '}', ',']) => {
            let mut raw = programs::object(&all_entries(&entries)?).ok_or_else(not_a_note)?;
            raw.body = markdown::with_plain_line_ends(rest).into_owned();
            builder.add(raw)
        }
        first => {
            let mut lines = vec![first];
            for value in values {
                if lines.len() >= MAX_NOTES {
                    return Err(ImportError::TooMany);
                }
                lines.push(value.map_err(|error| not_json(&error))?);
            }
            for line in lines {
                programs::read(line, builder)?;
            }
            Ok(())
        }
    }
}

/// Replaces unpaired surrogates, which some programs leave when they truncate a text, by U+FFFD.
/// Otherwise the whole document would be invalid JSON.
fn with_replaced_surrogates<'a>(text: &'a str, builder: &mut DocumentBuilder) -> Cow<'a, str> {
    if !text.contains("\\ud") && !text.contains("\\uD") {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let unit = |at: usize| -> Option<u16> {
        let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
        u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    let mut repaired = String::with_capacity(text.len());
    let (mut at, mut copied, mut replaced) = (0, 0, 0_usize);
    while let Some(step) = text[at..].find('\\') {
        at += step;
        at += match (unit(at), unit(at + 6)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
            (Some(0xd800..=0xdfff), _) => {
                repaired.push_str(&text[copied..at]);
                repaired.push_str("\\ufffd");
                copied = at + 6;
                replaced += 1;
                6
            }
            (Some(_), _) => 6,
            // A backslash and the escaped character.
            (None, _) => 1 + text[at + 1..].chars().next().map_or(0, char::len_utf8),
        };
    }
    if replaced == 0 {
        return Cow::Borrowed(text);
    }
    builder.warn(format!("{replaced} unpaired surrogates in the texts were replaced by U+FFFD"));
    repaired.push_str(&text[copied..]);
    Cow::Owned(repaired)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn titles(text: &str) -> Vec<String> {
        let mut builder = DocumentBuilder::default();
        read(text, &mut builder).unwrap();
        builder.notes.into_iter().map(|note| note.draft.title.into_string()).collect()
    }

    #[test]
    fn an_object_may_contain_notes_and_other_entries() {
        assert_eq!(titles(r#"{"version": {"x": [1]}, "notes": [{"title": "a"}], "z": 1}"#), ["a"]);
        assert_eq!(titles(r#"{"data": [{"title": "a"}, "b"]}"#), ["a", "b"]);
        assert_eq!(titles(r#"{"title": "a", "body": "b"}"#), ["a"]);
        assert_eq!(titles("{\"title\": \"a\"}\n{\"title\": \"b\"}\n"), ["a", "b"]);
        assert_eq!(titles("{\"title\": \"a\"}\n\n# Text\n"), ["a"]);
        for bad in ["{}", r#"{"note": []}"#, "3", r#""text""#, "[1]", "[{}", r#"{"notes":1}"#] {
            let error = read(bad, &mut DocumentBuilder::default());
            assert!(matches!(error, Err(ImportError::NotJson(_))), "{bad}: {error:?}");
        }
    }

    #[test]
    fn unpaired_surrogates_do_not_make_a_document_invalid() {
        let mut builder = DocumentBuilder::default();
        let text = r#"[{"title": "\ud83d\ude00 \ud83d", "body": "\\ud83d \udE00x\ud83d\n"}]"#;
        read(text, &mut builder).unwrap();
        let note = &builder.notes[0].draft;
        assert_eq!(note.title.as_str(), "😀 \u{fffd}");
        assert_eq!(note.body.as_str(), "\\ud83d \u{fffd}x\u{fffd}\n");
        assert_eq!(builder.warnings.len(), 1);
    }
}
