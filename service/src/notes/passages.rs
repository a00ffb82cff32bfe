//! Cuts out of a text the passages in which something was found.
//!
//! The databases only mark the words; both could cut passages too, but need quadratic time, and
//! Postgres memory as well, for a long text of one word repeated. This takes one look at each
//! character.

use super::{EXCERPT, MARK};

/// Stands before a found word in the text that a database gives. A text may hold this character for
/// reasons of its own; then it is marked in the wrong place, and nothing else happens.
pub(super) const START: char = '\u{2}';

/// Stands after a found word.
pub(super) const STOP: char = '\u{3}';

/// The most passages of one text.
const PASSAGES: usize = 2;

/// Characters of a passage, about: it begins and ends between words.
const LENGTH: usize = 160;

/// Characters before the first found word of a passage, at most.
const BEFORE: usize = 50;

/// The passages with [`MARK`] around each found word, or the beginning of the text if nothing was
/// found in it.
pub(super) fn passages(marked: &str) -> String {
    let mut passages = String::new();
    let mut rest = 0;
    for _ in 0..PASSAGES {
        let Some(found) = marked[rest..].find(START) else {
            break;
        };
        let begin = beginning(marked, rest, rest + found);
        let end = ending(marked, begin, rest + found);
        if begin > rest {
            passages.truncate(passages.trim_end().len());
            passages.push_str(if rest == 0 { "… " } else { " … " });
        }
        push_marked(&mut passages, &marked[begin..end]);
        rest = end;
    }
    if rest == 0 {
        return super::excerpt(
            marked.chars().filter(|it| !is_sentinel(*it)).take(EXCERPT + 1).collect(),
        );
    }
    if rest < marked.trim_end().len() {
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

/// Where the passage ends: not within the word at `found`, and between words if possible.
fn ending(text: &str, begin: usize, found: usize) -> usize {
    let word = text[found..].find(STOP).map_or(text.len(), |it| found + it + STOP.len_utf8());
    let Some((latest, _)) = text[begin..].char_indices().nth(LENGTH) else {
        return text.len();
    };
    let latest = begin + latest;
    if latest <= word {
        return word;
    }
    text[word..latest].rfind(char::is_whitespace).map_or(latest, |it| word + it)
}

/// Every mark that is opened here is closed here.
fn push_marked(out: &mut String, passage: &str) {
    let mut open = false;
    for character in passage.chars() {
        match character {
            START | STOP if open == (character == STOP) => {
                out.push_str(MARK);
                open = !open;
            }
            START | STOP => {}
            _ => out.push(character),
        }
    }
    if open {
        out.push_str(MARK);
    }
}

fn is_sentinel(character: char) -> bool {
    matches!(character, START | STOP)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `[` and `]` for the two characters that one cannot see.
    fn cut(text: &str) -> String {
        passages(&text.replace('[', "\u{2}").replace(']', "\u{3}"))
    }

    #[test]
    fn a_short_text_is_shown_whole() {
        assert_eq!(cut("we drink [tea] here"), "we drink **tea** here");
        assert_eq!(cut("[tea]"), "**tea**");
        assert_eq!(cut("no word was found"), "no word was found");
        assert_eq!(cut(""), "");
    }

    #[test]
    fn passages_begin_and_end_between_words() {
        let filler = "lorem ipsum dolor sit amet ".repeat(20);
        let text = format!("{filler}the hidden [treasure] lies here {filler}[again] {filler}");
        let cut = cut(&text);
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
        let cut = cut(&format!("{}[茶]{}", "字".repeat(500), "字".repeat(500)));
        assert!(cut.contains("字**茶**字"), "{cut}");
        assert!(cut.chars().count() <= LENGTH + 10, "{cut}");
        let long = "x".repeat(1000);
        assert_eq!(passages(&format!("\u{2}{long}\u{3}")), format!("**{long}**"));
    }

    proptest! {
        #[test]
        fn marks_come_in_pairs_and_nothing_is_invented(text in "[a-z \u{2}\u{3}üß字]{0,800}") {
            let cut = passages(&text);
            prop_assert_eq!(cut.matches(MARK).count() % 2, 0);
            prop_assert!(!cut.contains([START, STOP]));
            let plain: String = text.chars().filter(|it| !is_sentinel(*it)).collect();
            let cut = cut.replace(MARK, "");
            for passage in cut.split('…') {
                prop_assert!(plain.contains(passage.trim()), "“{}”", passage);
            }
        }
    }
}
