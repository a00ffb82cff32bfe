//! Extracts the passages of a text that match a query.
//!
//! The databases have functions for this too, but they differ, and take quadratic time for a long
//! text of one repeated word. This module reads the text once, with the same word splitter as the
//! index, and stops when it has enough passages.

use std::ops::ControlFlow;

use super::{
    excerpt::{EXCERPT, MARK, excerpt},
    query::{Finder, Query, Span},
};
use crate::words;

/// The maximum number of passages.
const PASSAGES: usize = 2;

/// The approximate length of a passage in characters: passages begin and end between words.
const LENGTH: usize = 160;

/// The maximum length of a passage in characters, where a single word exceeds [`LENGTH`].
const MAX_LENGTH: usize = 400;

/// The maximum number of characters before the first match of a passage.
const BEFORE: usize = 50;

/// The maximum number of bytes between two words of a phrase that share one mark, such as `://`.
const GAP: usize = 4;

/// Returns the matching passages with [`MARK`] around each match, or the beginning of the text if
/// nothing matches.
pub(super) fn passages(text: &str, query: &Query) -> String {
    cut(text, &found(text, query))
}

/// Returns the matches that the passages may show, in order and without overlaps.
fn found(text: &str, query: &Query) -> Vec<Span> {
    /// The maximum number of bytes of a passage, with 4 bytes per character.
    const REACH: usize = 4 * MAX_LENGTH;
    let finder =
        Finder::new(query.alternatives.iter().flat_map(|alternative| &alternative.required));
    let mut found: Vec<Span> = Vec::new();
    let mut passages = 0;
    let mut passage_end = 0;
    let _ended = finder.each(text, |_, words| {
        let Some(first) = words.first() else {
            return ControlFlow::Continue(());
        };
        if first.start >= passage_end {
            if passages == PASSAGES {
                return ControlFlow::Break(());
            }
            passages += 1;
            passage_end = first.start + REACH;
        }
        for (place, word) in words.iter().enumerate() {
            match found.last_mut() {
                Some(last) if place > 0 && share_mark(text, last, word) => {
                    last.end = last.end.max(word.end);
                }
                _ => found.push(word.clone()),
            }
        }
        ControlFlow::Continue(())
    });
    merged(text, found)
}

/// Returns whether two consecutive words of a phrase share one mark.
fn share_mark(text: &str, before: &Span, word: &Span) -> bool {
    match text.get(before.end..word.start) {
        Some(between) => between.len() <= GAP && !between.contains('\n'),
        None => true, // Overlapping pairs of characters.
    }
}

/// Merges overlapping and adjacent spans, and extends each over combining marks that follow it.
fn merged(text: &str, mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort_by_key(|span| (span.start, span.end));
    let mut merged: Vec<Span> = Vec::with_capacity(spans.len());
    for mut span in spans {
        let marks =
            text[span.end..].chars().take_while(|mark| words::extends_previous_character(*mark));
        span.end += marks.map(char::len_utf8).sum::<usize>();
        match merged.last_mut() {
            Some(last) if span.start <= last.end => last.end = last.end.max(span.end),
            _ => merged.push(span),
        }
    }
    merged
}

/// Returns the passages around these matches.
fn cut(text: &str, spans: &[Span]) -> String {
    let mut passages = String::new();
    let mut rest = 0;
    for _ in 0..PASSAGES {
        let Some(found) = spans.iter().find(|span| span.start >= rest) else {
            break;
        };
        let begin = beginning(text, rest, found.start);
        let end = ending(text, begin, found.end);
        if begin > rest {
            passages.truncate(passages.trim_end().len());
            passages.push_str(if rest == 0 { "… " } else { " … " });
        }
        push_marked(&mut passages, text, begin..end, spans);
        rest = end;
    }
    if rest == 0 {
        return excerpt(text.chars().take(EXCERPT + 1).collect());
    }
    if rest < text.trim_end().len() {
        passages.truncate(passages.trim_end().len());
        passages.push_str(" …");
    }
    passages
}

/// Returns where a passage begins that contains a match at `found`: after white space if there is
/// any nearby, and not before `from`.
fn beginning(text: &str, from: usize, found: usize) -> usize {
    let Some((earliest, _)) = text[from..found].char_indices().rev().nth(BEFORE) else {
        return from;
    };
    let earliest = from + earliest;
    match text[earliest..found].find(char::is_whitespace) {
        Some(space) => found - text[earliest + space..found].trim_start().len(),
        None => earliest,
    }
}

/// Returns where a passage ends: not within the match that ends at `word`, unless that is very
/// long, and between words if possible.
fn ending(text: &str, begin: usize, word: usize) -> usize {
    let after = |characters| text[begin..].char_indices().nth(characters).map(|(at, _)| begin + at);
    let Some(latest) = after(LENGTH) else {
        return text.len();
    };
    if latest <= word {
        return word.min(after(MAX_LENGTH).unwrap_or(text.len()));
    }
    text[word..latest].rfind(char::is_whitespace).map_or(latest, |space| word + space)
}

/// Appends a passage with a mark before and after each match.
fn push_marked(out: &mut String, text: &str, passage: Span, spans: &[Span]) {
    let mut at = passage.start;
    let within = spans.iter().filter(|span| passage.contains(&span.start));
    for span in within {
        let end = span.end.min(passage.end);
        out.push_str(&text[at..span.start]);
        out.push_str(MARK);
        out.push_str(&text[span.start..end]);
        out.push_str(MARK);
        at = end;
    }
    out.push_str(&text[at..passage.end]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Treats the text between `[` and `]` as a match.
    fn cut_marked(marked: &str) -> String {
        let mut text = String::new();
        let mut spans: Vec<Span> = Vec::new();
        for character in marked.chars() {
            match (character, spans.last_mut()) {
                ('[', _) => spans.push(text.len()..usize::MAX),
                (']', Some(span)) => span.end = text.len(),
                _ => text.push(character),
            }
        }
        cut(&text, &spans)
    }

    fn passages_of(query: &str, text: &str) -> String {
        passages(text, &Query::parse(query))
    }

    #[test]
    fn a_short_text_is_shown_whole() {
        assert_eq!(cut_marked("we drink [tea] here"), "we drink **tea** here");
        assert_eq!(cut_marked("[tea]"), "**tea**");
        assert_eq!(cut_marked("no word was found"), "no word was found");
        assert_eq!(cut_marked(""), "");
    }

    #[test]
    fn passages_begin_and_end_between_words() {
        let filler = "lorem ipsum dolor sit amet ".repeat(20);
        let text = format!("{filler}the hidden [treasure] lies here {filler}[again] {filler}");
        let cut = cut_marked(&text);
        let (first, second) = cut[3..].split_once(" … ").unwrap();
        assert!(first.contains("the hidden **treasure** lies here"), "{cut}");
        assert!(second.contains("amet **again** lorem"), "{cut}");
        assert!(cut.starts_with("… ") && cut.ends_with(" …"), "{cut}");
        for word in cut.split_whitespace() {
            assert!(
                ["…", "the", "hidden", "lies", "here"].contains(&word)
                    || word.starts_with("**")
                    || filler.split(' ').any(|known| known == word),
                "“{word}” is not whole in {cut}"
            );
        }
    }

    #[test]
    fn texts_without_spaces_are_shortened_too() {
        let cut = cut_marked(&format!("{}[茶]{}", "字".repeat(500), "字".repeat(500)));
        assert!(cut.contains("字**茶**字"), "{cut}");
        assert!(cut.chars().count() <= LENGTH + 10, "{cut}");
        let long = "x".repeat(350);
        assert_eq!(cut_marked(&format!("[{long}]")), format!("**{long}**"));
        let endless = cut_marked(&format!("[{}]", "x".repeat(100_000)));
        assert_eq!(endless, format!("**{}** …", "x".repeat(MAX_LENGTH)));
    }

    #[test]
    fn phrases_have_one_mark_and_single_words_have_their_own() {
        for (query, text, expected) in [
            ("green tea", "green tea", "**green** **tea**"),
            ("\"green tea\"", "green tea", "**green tea**"),
            ("\"green tea\"", "tea, green\ntea, greens", "tea, **green**\n**tea**, greens"),
            ("a.b/c", "see a.b/c!", "see **a.b/c**!"),
            ("数据库", "本周数据库迁移", "本周**数据库**迁移"),
            ("数", "本周数据库", "本周**数**据库"),
            ("据 库", "数据库", "数**据库**"),
            ("cafe", "le cafe\u{301}s", "le **cafe\u{301}s**"),
            ("ก", "ก\u{e48}อน", "**ก\u{e48}**อน"),
            ("tea -milk", "tea, no milk", "**tea**, no milk"),
            ("tea or milk", "tea, milk", "**tea**, **milk**"),
            ("report", "report_final.pdf", "**report**_final.pdf"),
        ] {
            assert_eq!(passages_of(query, text), expected, "{query}");
        }
    }

    #[test]
    fn a_long_text_is_read_no_further_than_it_is_shown() {
        let text = "tea and more words ".repeat(10_000);
        let spans = found(&text, &Query::parse("tea"));
        assert!(spans.last().is_some_and(|span| span.end < 10_000), "{spans:?}");
        assert_eq!(passages_of("tea", &text).matches("**tea**").count(), 17);
    }

    proptest! {
        #[test]
        fn marks_are_paired_and_passages_are_parts_of_the_text(
            text in "[a-z \u{301}üß字\\.]{0,800}",
            query in "([a-zü字]{1,2}[ \\.\"]?){1,4}",
        ) {
            let cut = passages_of(&query, &text);
            prop_assert_eq!(cut.matches(MARK).count() % 2, 0);
            let cut = cut.replace(MARK, "");
            for passage in cut.split('…') {
                prop_assert!(text.contains(passage.trim()), "“{}”", passage);
            }
        }
    }
}
