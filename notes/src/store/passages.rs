//! Cuts out of a text the passages in which something was found.
//!
//! The databases could mark words and cut passages, too, but each in its own way, and with quadratic
//! time for a long text of one word repeated. This reads the text once, by the same rule by which it
//! was indexed, and no further than the passages reach.

use std::ops::ControlFlow;

use super::{
    excerpt::{EXCERPT, MARK, excerpt},
    query::{Finder, Query, Span},
};
use crate::words;

/// The most passages of one text.
const PASSAGES: usize = 2;

/// Characters of a passage, about: it begins and ends between words.
const LENGTH: usize = 160;

/// Characters of a passage, at most, where a single word is longer than [`LENGTH`].
const MAX_LENGTH: usize = 400;

/// Characters before the first found word of a passage, at most.
const BEFORE: usize = 50;

/// Bytes between two words of a phrase, at most, for one mark around both: `://` and the like.
const GAP: usize = 4;

/// The passages with [`MARK`] around what the query asks for, or the beginning of the text if
/// nothing of it is there.
pub(super) fn passages(text: &str, query: &Query) -> String {
    cut(text, &found(text, query))
}

/// What the query asks for, as far as passages may show it: in order, and apart from each other.
fn found(text: &str, query: &Query) -> Vec<Span> {
    /// Bytes that one passage may span, whatever its characters are.
    const REACH: usize = 4 * MAX_LENGTH;
    let finder = Finder::new(query.alternatives.iter().flat_map(|it| &it.required));
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
                Some(last) if place > 0 && joins(text, last, word) => {
                    last.end = last.end.max(word.end);
                }
                _ => found.push(word.clone()),
            }
        }
        ControlFlow::Continue(())
    });
    apart(text, found)
}

/// Whether two consecutive words of a phrase get one mark.
fn joins(text: &str, before: &Span, word: &Span) -> bool {
    match text.get(before.end..word.start) {
        Some(between) => between.len() <= GAP && !between.contains('\n'),
        None => true, // pairs of characters overlap
    }
}

/// Joins what overlaps or touches, and ends nothing before a mark that is drawn on its last character.
fn apart(text: &str, mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort_by_key(|span| (span.start, span.end));
    let mut apart: Vec<Span> = Vec::with_capacity(spans.len());
    for mut span in spans {
        let marks =
            text[span.end..].chars().take_while(|it| words::extends_previous_character(*it));
        span.end += marks.map(char::len_utf8).sum::<usize>();
        match apart.last_mut() {
            Some(last) if span.start <= last.end => last.end = last.end.max(span.end),
            _ => apart.push(span),
        }
    }
    apart
}

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

/// Where a passage begins that is to show the word at `found`: between words if there is white space
/// near, and never before `from`.
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

/// Where the passage ends: not within the found word that ends at `word`, unless that is very long,
/// and between words if possible.
fn ending(text: &str, begin: usize, word: usize) -> usize {
    let after = |characters| text[begin..].char_indices().nth(characters).map(|(at, _)| begin + at);
    let Some(latest) = after(LENGTH) else {
        return text.len();
    };
    if latest <= word {
        return word.min(after(MAX_LENGTH).unwrap_or(text.len()));
    }
    text[word..latest].rfind(char::is_whitespace).map_or(latest, |it| word + it)
}

/// Every mark that is opened here is closed here.
fn push_marked(out: &mut String, text: &str, passage: Span, spans: &[Span]) {
    let mut at = passage.start;
    let within = spans.iter().filter(|it| it.start >= passage.start && it.start < passage.end);
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

    /// Marks what stands between `[` and `]`.
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

    fn asked(query: &str, text: &str) -> String {
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
                    || filler.split(' ').any(|it| it == word),
                "“{word}” is not whole in {cut}"
            );
        }
    }

    #[test]
    fn texts_without_spaces_are_cut_all_the_same() {
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
            assert_eq!(asked(query, text), expected, "{query}");
        }
    }

    #[test]
    fn a_long_text_is_read_no_further_than_it_is_shown() {
        let text = "tea and more words ".repeat(10_000);
        let spans = found(&text, &Query::parse("tea"));
        assert!(spans.last().is_some_and(|it| it.end < 10_000), "{spans:?}");
        assert_eq!(asked("tea", &text).matches("**tea**").count(), 17);
    }

    proptest! {
        #[test]
        fn marks_come_in_pairs_and_nothing_is_invented(
            text in "[a-z \u{301}üß字\\.]{0,800}",
            query in "([a-zü字]{1,2}[ \\.\"]?){1,4}",
        ) {
            let cut = asked(&query, &text);
            prop_assert_eq!(cut.matches(MARK).count() % 2, 0);
            let cut = cut.replace(MARK, "");
            for passage in cut.split('…') {
                prop_assert!(text.contains(passage.trim()), "“{}”", passage);
            }
        }
    }
}
