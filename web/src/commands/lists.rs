//! Prints lists: as a table for people, or as JSON lines for programs.

use std::io::{self, Write as _};

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use clap::Args;
use platform::terminal::say;
use serde::Serialize;

/// How a list is printed.
#[derive(Debug, Args)]
pub(super) struct Printing {
    /// Maximum number of entries
    #[arg(long, value_name = "NUMBER", default_value_t = 50,
        value_parser = clap::value_parser!(u64).range(1..=oauth::listing::MAX_PAGE))]
    pub(super) limit: u64,
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
}

impl Printing {
    /// Prints entries, and the arguments for the next page if there may be one. `cells` formats a
    /// row; `next` formats the arguments that continue after an entry.
    pub(super) fn print<T: Serialize, const N: usize>(
        &self,
        entries: &[T],
        head: [&str; N],
        cells: impl Fn(&T) -> [String; N],
        next: impl Fn(&T) -> String,
    ) -> anyhow::Result<()> {
        let text = if self.json { lines(entries)? } else { table(head, entries.iter().map(cells)) };
        write!(io::stdout(), "{text}").context("could not print the list")?;
        if entries.is_empty() {
            say("There are no entries.");
        }
        if let Some(last) = entries.last()
            && u64::try_from(entries.len()).is_ok_and(|count| count == self.limit)
        {
            say(format_args!("For the next entries, add: {}", next(last)));
        }
        Ok(())
    }
}

fn lines<T: Serialize>(entries: &[T]) -> anyhow::Result<String> {
    let mut text = String::new();
    for entry in entries {
        text += &serde_json::to_string(entry).context("could not write an entry")?;
        text.push('\n');
    }
    Ok(text)
}

/// Formats a table. Columns are as wide as their widest cell; the last one is not padded.
fn table<const N: usize>(head: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let rows: Vec<[String; N]> = rows.map(|row| row.map(|cell| printable(&cell))).collect();
    if rows.is_empty() {
        return String::new();
    }
    let widths: [usize; N] = std::array::from_fn(|column| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([head[column].len()]).max().unwrap_or_default()
    });
    let mut text = String::new();
    for row in std::iter::once(head.map(str::to_owned)).chain(rows) {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    text
}

/// Replaces control characters and invisible characters by U+FFFD: text from clients and users must
/// not control the terminal, nor look like other text.
fn printable(text: &str) -> String {
    let is_unsafe = |c: char| c.is_control() || platform::is_invisible(c);
    text.chars().map(|c| if is_unsafe(c) { '\u{fffd}' } else { c }).collect()
}

/// Formats a time for a table, in UTC.
pub(super) fn time(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows =
            [["a".to_owned(), "long cell".to_owned()], ["bcd".to_owned(), "\u{1b}[2J".to_owned()]];
        let text = table(["NAME", "X"], rows.into_iter());
        assert_eq!(text, "NAME  X\na     long cell\nbcd   \u{fffd}[2J\n");
    }

    #[test]
    fn control_and_invisible_characters_are_replaced() {
        for text in ["\u{1b}", "\n", "\u{9b}", "\u{202e}", "\u{200b}", "\u{feff}", "\u{e0041}"] {
            assert_eq!(printable(&format!("a{text}b")), "a\u{fffd}b", "{text:?}");
        }
        for text in ["", "notes-mcp", "It's “5” o'clock", "cafe\u{301}", "数据库"] {
            assert_eq!(printable(text), text);
        }
    }
}
