//! Parses fields that programs write into the text of a note instead of front matter.

use serde_json::Value;

use super::raw_note::{Field, FieldOutcome, RawNote, field_of_key};

/// The maximum length of the name of a property, in characters.
const MAX_KEY: usize = 60;

/// Sets fields from the properties of a Notion page: lines such as `Created: January 5, 2024`
/// before the first empty line. Keeps unknown properties in the text.
pub(super) fn take_properties(raw: &mut RawNote) {
    let body = std::mem::take(&mut raw.body);
    let (block, rest) = body.split_once("\n\n").unwrap_or((&body, ""));
    let entries: Option<Vec<_>> = block.lines().map(property).collect();
    let Some(entries) = entries else {
        raw.body = body;
        return;
    };
    let mut kept = Vec::new();
    for (line, (key, value)) in block.lines().zip(entries) {
        let outcome = match field_of_key(key) {
            Some(field @ (Field::Tags | Field::Created | Field::Updated)) => {
                raw.set_field(key, field, &Value::from(value))
            }
            _ => FieldOutcome::Unused,
        };
        if outcome == FieldOutcome::Unused {
            kept.push(line);
        }
    }
    raw.body = match kept.as_slice() {
        [] => rest.to_owned(),
        kept if rest.is_empty() => kept.join("\n"),
        kept => format!("{}\n\n{rest}", kept.join("\n")),
    };
}

fn property(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once(": ").or_else(|| Some((line.strip_suffix(':')?, "")))?;
    let is_key = key.starts_with(char::is_alphabetic) && key.chars().count() <= MAX_KEY;
    is_key.then_some((key, value))
}

/// Returns the tags of a Bear note, from lines that consist of `#tag`, `#parent/child` and
/// `#several words#`.
pub(super) fn hashtags(body: &str) -> Vec<String> {
    let mut tags = Vec::new();
    let mut is_code = false;
    for line in body.lines().map(str::trim) {
        if line.starts_with("```") || line.starts_with("~~~") {
            is_code = !is_code;
        } else if !is_code && line.starts_with('#') {
            tags.extend(tags_of_line(line).unwrap_or_default());
        }
    }
    tags
}

/// Returns the tags of a line. `None`: the line has other content.
fn tags_of_line(mut line: &str) -> Option<Vec<String>> {
    let mut tags = Vec::new();
    while !line.is_empty() {
        let rest = line.strip_prefix('#').filter(|tag| tag.starts_with(char::is_alphanumeric))?;
        // `#several words#` ends at its second `#`, unless another tag begins before.
        let word = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let end = match rest.find('#') {
            Some(end) if !rest[..end].ends_with(char::is_whitespace) => end,
            _ => word,
        };
        tags.push(rest[..end].to_owned());
        line = rest[end..].strip_prefix('#').unwrap_or(&rest[end..]).trim_start();
    }
    Some(tags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_of_a_page_are_read() {
        let body = "Created: January 5, 2024 3:04 PM\nStatus: Open\nTags: a, b\n\nText: x\n";
        let mut raw = RawNote { body: body.into(), ..RawNote::default() };
        take_properties(&mut raw);
        assert_eq!(raw.body, "Status: Open\n\nText: x\n");
        assert_eq!(raw.tags, ["a", "b"]);
        assert_eq!(raw.created_at.unwrap().to_rfc3339(), "2024-01-05T15:04:00+00:00");
        for prose in ["Tags: a\nand prose\n", "", "- Tags: a\n", "Created: then\n\nText"] {
            let mut raw = RawNote { body: prose.into(), ..RawNote::default() };
            take_properties(&mut raw);
            assert_eq!((raw.body.as_str().trim_end(), raw.tags.len()), (prose.trim_end(), 0));
        }
    }

    #[test]
    fn lines_of_hashtags_are_tags() {
        for (line, tags) in [
            ("#one #two/three", &["one", "two/three"][..]),
            ("#several words# #x", &["several words", "x"]),
            ("#x #several words#", &["x", "several words"]),
            ("# Heading", &[]),
            ("#one and more", &[]),
            ("```\n#include\n```", &[]),
        ] {
            assert_eq!(hashtags(line), tags, "{line}");
        }
    }
}
