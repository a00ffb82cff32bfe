//! Parses tags in the formats of other programs: lists, texts, objects with a name, with quotes or
//! other delimiters.

use serde_json::Value;

use super::text::{one_line, scalar};

/// Collects tags from a list, nested lists, objects with a name, or a text. `false`: an element is
/// not a tag.
pub(super) fn collect(value: &Value, tags: &mut Vec<String>) -> bool {
    match value {
        Value::Array(items) => items.iter().all(|item| match item {
            Value::String(text) => {
                tags.extend(clean(text));
                true
            }
            item => collect(item, tags),
        }),
        Value::Object(fields) => match fields.get("name").or_else(|| fields.get("title")) {
            Some(Value::String(name)) if fields.len() == 1 => {
                tags.extend(clean(name));
                true
            }
            _ => false,
        },
        value => {
            let text = scalar(value).unwrap_or_default();
            tags.extend(split_tags(&text).filter_map(clean));
            true
        }
    }
}

/// Splits a text into tags, which are separated by commas or have `#` before each.
fn split_tags(text: &str) -> impl Iterator<Item = &str> {
    let all_hashed =
        !text.contains(',') && text.split_whitespace().all(|word| word.starts_with('#'));
    text.split(move |character: char| {
        matches!(character, ',' | '\n') || (all_hashed && character.is_whitespace())
    })
}

/// Removes the delimiters of a tag: `#tag`, `[[tag]]`, quotes. `None`: nothing is left.
pub(super) fn clean(text: &str) -> Option<String> {
    let text = one_line(text);
    let mut tag = text.trim_matches(['"', '\'']).trim();
    tag = tag.strip_prefix("[[").and_then(|link| link.strip_suffix("]]")).unwrap_or(tag).trim();
    if tag.len() > 1 {
        tag = tag.strip_prefix('#').unwrap_or(tag).trim();
    }
    (!tag.is_empty()).then(|| tag.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::raw_note::{Field, FieldOutcome, RawNote};

    #[test]
    fn tags_are_read_in_common_forms() {
        for (value, tags) in [
            (json!(null), &[][..]),
            (json!([]), &[]),
            (json!(["", null, " "]), &[]),
            (json!("one, two"), &["one", "two"]),
            (json!("#one #two/three"), &["one", "two/three"]),
            (json!("two words"), &["two words"]),
            (json!([["x"]]), &["x"]),
            (json!("[[x]]"), &["x"]),
            (json!(["#a", "[[b]]", " c ", "a"]), &["a", "b", "c"]),
            (json!(["a, b", 2024, true]), &["a, b", "2024", "true"]),
            (json!([{ "name": "Home" }]), &["Home"]),
            (json!(["c#", "#", "two\nlines"]), &["c#", "#", "two lines"]),
        ] {
            let mut raw = RawNote::default();
            assert_ne!(raw.set_field("tags", Field::Tags, &value), FieldOutcome::Unused, "{value}");
            assert_eq!(raw.tags, tags, "{value}");
        }
        let outcome = RawNote::default().set_field("tags", Field::Tags, &json!([{ "a": 1 }]));
        assert_eq!(outcome, FieldOutcome::Unused);
    }
}
