//! Reads front matter: YAML between `---` lines, TOML between `+++` lines.
//!
//! Entries are parsed one by one, so that an invalid entry does not affect the others, and fields
//! that notes do not have can be kept exactly as written. A block without any known field is not
//! front matter but part of the text.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::raw_note::{Field, FieldOutcome, RawNote, field_of_key};

/// The maximum size of front matter in bytes, enough for a few hundred lines. Longer blocks are
/// text.
const MAX_BYTES: usize = 16 * 1024;

/// The maximum length of a key in characters. The text before a colon in longer lines is prose.
const MAX_KEY: usize = 60;

/// The warning about a block that looks like front matter but has no known field.
const NO_KNOWN_FIELD: &str =
    "the block at its beginning has no field of a note, and stays in its text";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Language {
    Yaml,
    Toml,
}

/// A document that begins like front matter.
struct Block<'a> {
    language: Language,
    inside: &'a str,
    rest: &'a str,
}

/// Parses the front matter of a document into `raw` and returns the rest of the text. Without front
/// matter, returns the whole document.
pub(super) fn parse_front_matter<'a>(text: &'a str, raw: &mut RawNote) -> &'a str {
    let Some(block) = find(text) else { return text };
    if block.inside.len() > MAX_BYTES {
        raw.warnings.push(format!(
            "the block at its beginning is longer than {} kB and stays in its text",
            MAX_BYTES / 1024
        ));
        return text;
    }
    let mut found = RawNote::default();
    let has_known_field = match block.language {
        Language::Yaml => yaml(block.inside, &mut found),
        Language::Toml => Some(toml(block.inside, &mut found)),
    };
    match has_known_field {
        Some(true) => {
            *raw = RawNote { is_toml: block.language == Language::Toml, ..found };
            block.rest.strip_prefix('\n').unwrap_or(block.rest)
        }
        Some(false) => {
            raw.warnings.push(NO_KNOWN_FIELD.into());
            text
        }
        None => text,
    }
}

fn find(text: &str) -> Option<Block<'_>> {
    let start = text.len() - text.trim_start_matches(['\n', '\r', ' ', '\t']).len();
    // The fence must be at the beginning of a line, after nothing but blank lines.
    let start = text[..start].rfind('\n').map_or(0, |line_end| line_end + 1);
    let text = &text[start..];
    let first = text.split_inclusive('\n').next()?;
    let language = match first.trim_end() {
        "---" => Language::Yaml,
        "+++" => Language::Toml,
        _ => return None,
    };
    let inside = &text[first.len()..];
    let mut end = 0;
    for line in inside.split_inclusive('\n') {
        let is_end = match (language, line.trim_end()) {
            (Language::Yaml, line) => line == "---" || line == "...",
            (Language::Toml, line) => line == "+++",
        };
        if is_end {
            let (inside, rest) = (&inside[..end], &inside[end + line.len()..]);
            return Some(Block { language, inside, rest });
        }
        end += line.len();
    }
    None
}

/// Parses a YAML block. `Some(false)`: it has no known field. `None`: it is prose.
fn yaml(block: &str, raw: &mut RawNote) -> Option<bool> {
    let mut is_used = false;
    let mut is_all_empty = true;
    for chunk in chunks(block)? {
        match chunk {
            Chunk::Comment(text) => raw.keep_in_text("#", text),
            Chunk::Entry { key, text } => {
                let outcome = match field_of_key(&key) {
                    Some(field) => entry(&key, field, text, raw),
                    None => FieldOutcome::Unused,
                };
                is_used |= outcome == FieldOutcome::Used;
                is_all_empty &= outcome == FieldOutcome::Empty;
                match outcome {
                    FieldOutcome::Unused => raw.keep_in_text(&key, text),
                    FieldOutcome::Used | FieldOutcome::Empty => keep_comments(text, raw),
                }
            }
        }
    }
    Some(is_used || is_all_empty)
}

/// Consecutive lines of a block.
enum Chunk<'a> {
    Entry { key: String, text: &'a str },
    Comment(&'a str),
}

/// Splits a block into entries and comments. `None`: a line is neither.
fn chunks(block: &str) -> Option<Vec<Chunk<'_>>> {
    let mut chunks: Vec<(Option<String>, usize, usize)> = Vec::new();
    let mut end = 0;
    for line in block.split_inclusive('\n') {
        let (start, content) = (end, line.trim_end());
        end += line.len();
        let continues = content.is_empty()
            || content.starts_with([' ', '\t', ']', '}'])
            || content == "-"
            || content.starts_with("- ");
        if content.starts_with('#') {
            chunks.push((None, start, end));
        } else if continues {
            match chunks.last_mut() {
                Some((Some(_), _, last)) => *last = end,
                _ if content.is_empty() => {}
                _ => return None,
            }
        } else {
            chunks.push((Some(key_of(content)?), start, end));
        }
    }
    let chunk = |(key, start, end)| match key {
        Some(key) => Chunk::Entry { key, text: &block[start..end] },
        None => Chunk::Comment(&block[start..end]),
    };
    Some(chunks.into_iter().map(chunk).collect())
}

fn key_of(line: &str) -> Option<String> {
    let (key, rest) = match line.chars().next()? {
        quote @ ('"' | '\'') => line[1..].split_once(quote)?,
        indicator if "-?:,[]{}&*!|>%@`".contains(indicator) => return None,
        _ => line
            .find(": ")
            .or_else(|| line.ends_with(':').then(|| line.len() - 1))
            .map(|at| line.split_at(at))?,
    };
    let is_key = rest.trim_start().starts_with(':') && key.chars().count() <= MAX_KEY;
    is_key.then(|| key.trim().to_owned())
}

/// Sets a field from an entry. If the entry is not valid YAML, or YAML would misinterpret it
/// (`tags: #one` is a comment), it is parsed as text.
fn entry(key: &str, field: Field, text: &str, raw: &mut RawNote) -> FieldOutcome {
    let written = text.split_once(':').map_or("", |(_, value)| value).trim();
    let has_hash_tags = |text: &str| text.split([' ', '\n', '\t', '[', ',']).any(is_hash_tag);
    let value =
        if field == Field::Tags && has_hash_tags(written) { None } else { value_of(field, text) };
    let value = match (value, field) {
        (Some(value), _) => value,
        (None, Field::Tags) => tags_of(written),
        (None, _) if !written.contains('\n') => Value::from(written),
        (None, _) => return FieldOutcome::Unused,
    };
    match raw.set_field(key, field, &value) {
        FieldOutcome::Unused if field == Field::Title && !written.contains('\n') => {
            raw.set_field(key, field, &Value::from(written))
        }
        outcome => outcome,
    }
}

/// Parses an entry as YAML, with scalars exactly as written: `007`, `y`.
fn value_of(field: Field, text: &str) -> Option<Value> {
    parse::<Option<String>>(text)
        .or_else(|| parse::<Vec<Option<String>>>(text))
        .or_else(|| parse::<Vec<Vec<Option<String>>>>(text))
        // More deeply nested lists of tags are parsed as text, so only maps remain.
        .or_else(|| {
            if field == Field::Tags && !text.contains('{') { None } else { parse::<Value>(text) }
        })
}

/// Parses an entry as a separate YAML document.
fn parse<T: DeserializeOwned + Into<Value>>(text: &str) -> Option<Value> {
    let entries: BTreeMap<String, T> = serde_saphyr::from_str(text).ok()?;
    entries.into_values().next().map(Into::into)
}

fn is_hash_tag(word: &str) -> bool {
    word.strip_prefix('#').is_some_and(|tag| tag.starts_with(char::is_alphanumeric))
}

/// Parses tags from a list that is not valid YAML.
fn tags_of(written: &str) -> Value {
    let has_commas = written.contains([',', '\n']);
    let separator =
        move |character: char| ",\n".contains(character) || (!has_commas && character == ' ');
    let tags = written.split(separator).map(|tag| {
        let tag = tag.trim();
        tag.strip_prefix("- ").unwrap_or(tag).trim_matches(['[', ']', ' '])
    });
    Value::from(tags.collect::<Vec<_>>())
}

/// Keeps comments after values that were used: the YAML parser drops them.
fn keep_comments(text: &str, raw: &mut RawNote) {
    for line in text.lines() {
        let Some((_, comment)) = line.split_once(" #") else { continue };
        if !comment.starts_with(' ') {
            // It is `#tag`, or part of a title.
            continue;
        }
        let is_in_value = raw.title.as_ref().is_some_and(|title| title.contains(comment.trim()));
        if !is_in_value && !comment.trim().is_empty() {
            raw.keep_in_text("#", &format!("#{comment}"));
        }
    }
}

/// Parses a TOML block, and keeps everything except the fields of notes as written. Returns whether
/// it has a known field.
fn toml(block: &str, raw: &mut RawNote) -> bool {
    let Ok(mut document) = block.parse::<toml_edit::DocumentMut>() else { return false };
    let keys: Vec<String> = document.iter().map(|(key, _)| key.to_owned()).collect();
    let mut is_used = false;
    let mut is_all_empty = true;
    for key in keys {
        let outcome = match (field_of_key(&key), document.get(&key).and_then(toml_value)) {
            (Some(field), Some(value)) => raw.set_field(&key, field, &value),
            _ => FieldOutcome::Unused,
        };
        is_used |= outcome == FieldOutcome::Used;
        is_all_empty &= outcome == FieldOutcome::Empty;
        if outcome == FieldOutcome::Unused {
            raw.kept_fields.push(format!("`{key}`"));
        } else {
            keep_toml_comments(&mut document, &key);
            document.remove(&key);
        }
    }
    let kept = document.to_string();
    if !kept.trim().is_empty() {
        raw.kept.push(kept.trim_matches('\n').to_owned());
    }
    is_used || is_all_empty
}

fn toml_value(item: &toml_edit::Item) -> Option<Value> {
    use toml_edit::Value as Toml;

    fn value(toml: &Toml) -> Option<Value> {
        match toml {
            Toml::String(text) => Some(text.value().as_str().into()),
            Toml::Integer(number) => Some((*number.value()).into()),
            Toml::Float(number) => Some((*number.value()).into()),
            Toml::Boolean(truth) => Some((*truth.value()).into()),
            Toml::Datetime(time) => Some(time.value().to_string().into()),
            Toml::Array(items) => items.iter().map(value).collect(),
            Toml::InlineTable(_) => None,
        }
    }
    item.as_value().and_then(value)
}

/// Moves the comments of an entry that is to be removed to the end of the document.
fn keep_toml_comments(document: &mut toml_edit::DocumentMut, key: &str) {
    let before =
        document.key(key).and_then(|key| key.leaf_decor().prefix()).and_then(|text| text.as_str());
    let behind = document
        .get(key)
        .and_then(toml_edit::Item::as_value)
        .and_then(|value| value.decor().suffix())
        .and_then(|text| text.as_str());
    let comments: Vec<String> = [before, behind]
        .into_iter()
        .flatten()
        .flat_map(str::lines)
        .map(|line| line.trim().to_owned())
        .filter(|line| line.starts_with('#'))
        .collect();
    if !comments.is_empty() {
        let trailing = document.trailing().as_str().unwrap_or_default();
        let trailing = format!("{trailing}{}\n", comments.join("\n"));
        document.set_trailing(trailing);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (RawNote, String) {
        let mut raw = RawNote::default();
        let body = parse_front_matter(text, &mut raw).to_owned();
        (raw, body)
    }

    #[test]
    fn front_matter_of_common_programs_is_read() {
        for (front_matter, title, tags, created) in [
            ("title: Plain", "Plain", &[][..], None),
            ("title: \"Quo\\u0074ed: yes\"", "Quoted: yes", &[], None),
            ("title: 'It''s'\ntags: [a, \"b c\"]", "It's", &["a", "b c"], None),
            ("title: 2024\ntags:\n  - x\n  - 7\n", "2024", &["x", "7"], None),
            ("title: 007\ntags:\n- 1.10\n", "007", &["1.10"], None),
            ("title: true\ntags: one, two", "true", &["one", "two"], None),
            ("title: T\ntags: 2024\ndate: 2026-01-31", "T", &["2024"], Some("2026-01-31")),
            ("title: >\n  folded\n  text\ntags:", "folded text", &[], None),
            ("title: >\n  folded\n\n  text\ntags:", "folded\ntext", &[], None),
            ("title: T\ncreated: 2026-01-31T10:00:00Z", "T", &[], Some("2026-01-31T10:00:00Z")),
            ("Title: T\nTags: [a]\nDate Created: 2026-01-31", "T", &["a"], Some("2026-01-31")),
            ("title: T\ntags: [[x]]", "T", &["x"], None),
            ("title: T\ntags: [no, y, on]", "T", &["no", "y", "on"], None),
            ("title: T\ntags:\n- tea\n- [no]\n", "T", &["tea", "no"], None),
            ("title: T\ntags: [[[x]], [[y]]]", "T", &["x", "y"], None),
            ("title: T\ntags: [a, null, \"\", b]", "T", &["a", "b"], None),
            ("title: T\ntags:\n  -\n  - a\n", "T", &["a"], None),
            ("title: T\ntags: #one", "T", &["one"], None),
            ("title: T\ntags: #one #two", "T", &["one", "two"], None),
            ("title: T\ntags: [#one, #two/three]", "T", &["one", "two/three"], None),
            ("title: T\ntags:\n  - #one\n  - two words\n", "T", &["one", "two words"], None),
            ("title: T\ntags: [\n  a,\n  b\n]\n", "T", &["a", "b"], None),
            ("title: T\ntags: [a, b", "T", &["a", "b"], None),
            ("title: T\ntags: @home", "T", &["@home"], None),
            ("title: T\nkeywords: a\nlabels: [b]", "T", &["a", "b"], None),
            ("title: One: two", "One: two", &[], None),
            ("title: [WIP] Plan", "[WIP] Plan", &[], None),
            ("title: [", "[", &[], None),
            ("title: {a: b}", "{a: b}", &[], None),
            ("title: T\ndate: '2012-12-02 11:22:33 +0000'", "T", &[], Some("2012-12-02T11:22:33Z")),
            ("title: T\ndate: 2012-12-02 11:22:33", "T", &[], Some("2012-12-02T11:22:33Z")),
            ("title: T\ncreated: 1619887200000", "T", &[], Some("2021-05-01T16:40:00Z")),
            ("title: T\ncreated:\nupdated: \"\"\ntags:\n", "T", &[], None),
        ] {
            for (open, close) in [("---", "---"), ("--- ", "..."), ("\n\n---", "---")] {
                let (raw, body) = read(&format!("{open}\n{front_matter}\n{close}\n\nText\n"));
                assert_eq!(raw.title.as_deref().map(str::trim), Some(title), "{front_matter}");
                assert_eq!(raw.tags, tags, "{front_matter}");
                let created =
                    created.map(|time| super::super::dates::read(&time.into()).unwrap().unwrap());
                assert_eq!(raw.created_at, created, "{front_matter}");
                assert_eq!((raw.kept.len(), body.as_str()), (0, "Text\n"), "{:?}", raw.kept);
                assert_eq!(raw.warnings, [] as [&str; 0], "{front_matter}");
            }
        }
    }

    #[test]
    fn unknown_and_invalid_fields_are_kept_as_written() {
        for (front_matter, kept) in [
            (
                "aliases: [x]\ntitle: T\nnested:\n  a: {b: c}\n",
                "aliases: [x]\nnested:\n  a: {b: c}",
            ),
            ("title: T\nsource: @web\nauthor: \"A\"", "source: @web\nauthor: \"A\""),
            ("# a comment\ntitle: T # another\ntags: [a] # why", "# a comment\n# another\n# why"),
            ("title: T\ntitle: Second", "title: Second"),
            ("title: T\ndate: some day", "date: some day"),
            ("title: T\ndate: 2026-01-31\ncreated: 2025-01-31", "created: 2025-01-31"),
            (
                "title: T\ndate: [a, b]\nnote: |\n  one\n\n  # two",
                "date: [a, b]\nnote: |\n  one\n\n  # two",
            ),
            ("title: T\ntags: {a: 1}", "tags: {a: 1}"),
            ("title: T\nx: &a [1]\ny: *a", "x: &a [1]\ny: *a"),
            ("title: T\nempty:", "empty:"),
        ] {
            let (raw, body) = read(&format!("---\n{front_matter}\n---\nText"));
            assert_eq!(raw.title.as_deref(), Some("T"), "{front_matter}");
            assert_eq!((raw.kept.join("\n").as_str(), body.as_str()), (kept, "Text"));
            assert!(!raw.kept_fields.is_empty());
        }
    }

    #[test]
    fn prose_between_rules_is_text() {
        for prose in [
            "---\nWarning: the dose is 5 mg, never 50\n---\nText",
            "---\nA rule, and no end of it",
            "---\nJust text\n---\nText",
            "---\nTitle: I wrote this\nand this is prose\n---\n",
            "---\n- a list\n---\n",
            "---\nsee https://example.com\n---\n",
            "+++\nnot = toml = at all\n+++\n",
            "+++\nTotally: prose\n+++\n",
            "text\n---\ntitle: T\n---\n",
            "----\ntitle: T\n----\n",
        ] {
            let (raw, body) = read(prose);
            assert_eq!((raw.title, body.as_str()), (None, prose));
        }
        let large = format!("---\ntitle: T\nx: {}\n---\n", "y".repeat(MAX_BYTES));
        let (raw, body) = read(&large);
        assert!(raw.title.is_none() && body == large && raw.warnings.len() == 1);
    }

    #[test]
    fn toml_is_parsed_and_its_other_fields_are_kept() {
        let (raw, body) = read(
            "+++\n# mine\ntitle = \"Tea\" # really\ndate = 2021-05-01T16:40:00+02:00\n\
             tags = [\"a\", \"b\"]\ndraft = false\n\n[params]\n  author = 'x'\n+++\n\nText\n",
        );
        assert_eq!((raw.title.as_deref(), raw.tags.len()), (Some("Tea"), 2));
        assert_eq!(raw.created_at.unwrap().to_rfc3339(), "2021-05-01T14:40:00+00:00");
        assert_eq!(raw.kept_fields, ["`draft`", "`params`"]);
        let kept = raw.kept.join("\n");
        assert!(kept.starts_with("draft = false\n\n[params]\n  author = 'x'\n"), "{kept}");
        assert!(kept.contains("# mine") && kept.contains("# really"), "{kept}");
        assert!(raw.is_toml && body == "Text\n");
    }

    #[test]
    fn an_alias_bomb_is_not_expanded() {
        let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c \
                    [*b,*b,*b,*b,*b,*b,*b,*b,*b]\ntags: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ntitle: T";
        let (raw, _) = read(&format!("---\n{bomb}\n---\n"));
        assert_eq!((raw.title.as_deref(), raw.kept.len()), (Some("T"), 3));
    }
}
