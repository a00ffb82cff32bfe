//! Short texts: one line, shortened, without control characters.

use platform::plain;
use serde_json::Value;

/// The text of a string, number or boolean; empty for `null`.
pub(super) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::Null => Some(String::new()),
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Array(_) | Value::Object(_) => None,
    }
}

/// White space and control characters become single spaces.
pub(super) fn one_line(text: &str) -> String {
    if text.trim() == text && !text.chars().any(char::is_control) {
        return text.to_owned();
    }
    let spaced: String = text.chars().map(|it| if it.is_control() { ' ' } else { it }).collect();
    let words: Vec<_> = spaced.split_whitespace().collect();
    words.join(" ")
}

/// The first line that says something: rules and empty lines do not.
pub(super) fn first_line(text: &str) -> String {
    let lines = || text.lines().map(one_line).filter(|it| !it.is_empty());
    lines()
        .find(|it| it.chars().any(char::is_alphanumeric))
        .map(|it| without_list_mark(&it).to_owned())
        .or_else(|| lines().next())
        .unwrap_or_default()
}

/// A line without `- ` or `- [ ] ` before it.
fn without_list_mark(line: &str) -> &str {
    let item = ["- [ ] ", "- [x] ", "- ", "* ", "> "].iter().find_map(|it| line.strip_prefix(it));
    item.map(str::trim).filter(|it| !it.is_empty()).unwrap_or(line)
}

/// At most `max` characters, with “…” at the end if there were more.
pub(super) fn shorten_to(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    let start: String = text.chars().take(max - 1).collect();
    format!("{}…", start.trim_end())
}

/// The beginning of a text, for a sentence that quotes it.
pub(super) fn shown(text: &str, max: usize) -> String {
    shorten(&plain(text), max)
}

pub(super) fn shorten(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}
