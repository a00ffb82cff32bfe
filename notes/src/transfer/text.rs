//! Converts values to short texts, for titles, tags and warnings.

use platform::plain;
use serde_json::Value;

/// Returns the text of a string, number or boolean; empty for `null`. `None`: an array or object.
pub(super) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::Null => Some(String::new()),
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Array(_) | Value::Object(_) => None,
    }
}

/// Replaces white space and control characters by single spaces.
pub(super) fn one_line(text: &str) -> String {
    if text.trim() == text && !text.chars().any(char::is_control) {
        return text.to_owned();
    }
    let spaced: String = text
        .chars()
        .map(|character| if character.is_control() { ' ' } else { character })
        .collect();
    let words: Vec<_> = spaced.split_whitespace().collect();
    words.join(" ")
}

/// Returns the first line with letters or digits, or else the first line that is not empty.
pub(super) fn first_line(text: &str) -> String {
    let lines = || text.lines().map(one_line).filter(|line| !line.is_empty());
    lines()
        .find(|line| line.chars().any(char::is_alphanumeric))
        .map(|line| without_list_mark(&line).to_owned())
        .or_else(|| lines().next())
        .unwrap_or_default()
}

/// Removes list and quote markers such as `- ` and `- [ ] ` from a line.
fn without_list_mark(line: &str) -> &str {
    let item =
        ["- [ ] ", "- [x] ", "- ", "* ", "> "].iter().find_map(|marker| line.strip_prefix(marker));
    item.map(str::trim).filter(|text| !text.is_empty()).unwrap_or(line)
}

/// Shortens a text to `max` characters, with “…” at the end if it was longer.
pub(super) fn shorten_to(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    let start: String = text.chars().take(max - 1).collect();
    format!("{}…", start.trim_end())
}

/// Returns the beginning of a text, for a quotation in a message: at most `max` characters, then
/// “…” if it is longer.
pub(super) fn shown(text: &str, max: usize) -> String {
    shorten(&plain(text), max)
}

pub(super) fn shorten(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}
