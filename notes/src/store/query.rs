//! Parses search queries. Each database gets the parsed query in its own syntax, never the text
//! that the user typed.
//!
//! Terms are separated by white space and must all occur. `"…"` is a phrase, `OR` separates
//! alternatives and has the lowest precedence, a leading `-` excludes. A term of several words,
//! such as `foo@bar.com`, is a phrase too. A term without any word is ignored.

use std::{collections::HashMap, mem, ops::ControlFlow};

use crate::words::{self, WordKind};

/// A parsed query. A note matches if one of the alternatives does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) alternatives: Vec<Alternative>,
}

/// A conjunction of phrases. It has at least one phrase.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Alternative {
    /// Phrases that must occur.
    pub(super) required: Vec<Phrase>,
    /// Phrases that must not occur.
    pub(super) excluded: Vec<Phrase>,
}

/// One or more consecutive words.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Phrase {
    pub(super) words: Vec<String>,
    /// Whether the last word matches as a prefix: it is a single character of a script without
    /// spaces.
    pub(super) is_prefix: bool,
}

impl Query {
    pub(super) fn parse(text: &str) -> Self {
        let mut alternatives = Vec::new();
        let mut current = Alternative::default();
        for term in terms(text) {
            match term {
                Term::Or => alternatives.push(mem::take(&mut current)),
                Term::Required(text) => current.required.extend(Phrase::parse(text)),
                Term::Excluded(text) => current.excluded.extend(Phrase::parse(text)),
            }
        }
        alternatives.push(current);
        alternatives.retain(|alternative| !alternative.is_empty());
        Self { alternatives }
    }

    /// Returns whether the query has no words.
    pub(super) fn is_empty(&self) -> bool {
        self.alternatives.is_empty()
    }

    /// Counts the words, including excluded ones.
    pub(super) fn words(&self) -> usize {
        let phrases = self.alternatives.iter().flat_map(Alternative::phrases);
        phrases.map(|phrase| phrase.words.len()).sum()
    }

    /// Returns whether the query has a phrase of several words, so that word positions matter.
    pub(super) fn has_phrases(&self) -> bool {
        let mut phrases = self.alternatives.iter().flat_map(Alternative::phrases);
        phrases.any(|phrase| phrase.words.len() > 1)
    }

    /// Returns whether a word of the query matches as a prefix.
    pub(super) fn has_prefixes(&self) -> bool {
        self.alternatives.iter().flat_map(Alternative::phrases).any(|phrase| phrase.is_prefix)
    }

    /// Returns whether a note with these fields matches. The databases decide the same with their
    /// indexes.
    pub(super) fn matches<'a>(&self, fields: impl IntoIterator<Item = &'a str>) -> bool {
        let all = self.alternatives.iter().flat_map(Alternative::phrases);
        let finder = Finder::new(all);
        let mut found = vec![false; finder.phrases.len()];
        for field in fields {
            let _ended = finder.each(field, |phrase, _| {
                found[phrase] = true;
                ControlFlow::Continue(())
            });
        }
        let mut found = found.into_iter();
        let mut all_of = |phrases: &[Phrase], wanted: bool| {
            // Consumes the states of all phrases, even if the first one decides.
            let states: Vec<bool> = found.by_ref().take(phrases.len()).collect();
            states.into_iter().all(|is_found| is_found == wanted)
        };
        let mut matches = false;
        for alternative in &self.alternatives {
            let required = all_of(&alternative.required, true);
            let excluded = all_of(&alternative.excluded, false);
            matches |= required && excluded;
        }
        matches
    }
}

impl Alternative {
    fn is_empty(&self) -> bool {
        self.required.is_empty() && self.excluded.is_empty()
    }

    fn phrases(&self) -> impl Iterator<Item = &Phrase> {
        self.required.iter().chain(&self.excluded)
    }
}

impl Phrase {
    fn parse(text: &str) -> Option<Self> {
        let mut words = Vec::new();
        let mut kinds = Vec::new();
        let _ended = words::for_each_word(text, |word| {
            words.push(word.lexeme.to_owned());
            kinds.push(word.kind);
            ControlFlow::Continue(())
        });
        let is_prefix = match kinds[..] {
            // The preceding pair already contains the last character, and the text may continue
            // after it.
            [.., WordKind::Pair, WordKind::Last] => {
                words.pop();
                false
            }
            [.., WordKind::Last] => true,
            _ => false,
        };
        (!words.is_empty()).then_some(Self { words, is_prefix })
    }
}

enum Term<'a> {
    Required(&'a str),
    Excluded(&'a str),
    Or,
}

/// Returns whether a character is a quotation mark of any common keyboard.
fn is_quote(character: char) -> bool {
    matches!(character, '"' | '“' | '”' | '„' | '‟' | '«' | '»' | '＂' | '「' | '」' | '『' | '』')
}

fn terms(text: &str) -> impl Iterator<Item = Term<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start();
        let mut characters = rest.chars();
        let is_excluded = characters.next()? == '-';
        let from = rest.trim_start_matches('-');
        let quoted = from.strip_prefix(is_quote);
        let (word, after) = if let Some(phrase) = quoted {
            phrase.split_once(is_quote).unwrap_or((phrase, ""))
        } else {
            let end = from.find(|character: char| character.is_whitespace() || is_quote(character));
            from.split_at(end.unwrap_or(from.len()))
        };
        rest = after;
        Some(match (quoted, is_excluded) {
            (None, false) if word.eq_ignore_ascii_case("or") => Term::Or,
            (_, false) => Term::Required(word),
            (_, true) => Term::Excluded(word),
        })
    })
}

/// Finds phrases in texts.
pub(super) struct Finder<'a> {
    phrases: Vec<&'a Phrase>,
    /// The distinct words of all phrases, and the number by which each is known here.
    vocabulary: HashMap<&'a str, usize>,
    /// The number of words in the longest phrase.
    longest: usize,
}

/// A word of the text: its number and that of its first character in the vocabulary, and its
/// position.
struct Seen {
    word: Option<usize>,
    head: Option<usize>,
    start: usize,
    end: usize,
    head_end: usize,
}

/// The position of a word of a phrase, in bytes of the text.
pub(super) type Span = std::ops::Range<usize>;

impl<'a> Finder<'a> {
    pub(super) fn new(phrases: impl IntoIterator<Item = &'a Phrase>) -> Self {
        let phrases: Vec<&Phrase> = phrases.into_iter().collect();
        let mut vocabulary = HashMap::new();
        for word in phrases.iter().flat_map(|phrase| &phrase.words) {
            let number = vocabulary.len();
            vocabulary.entry(word.as_str()).or_insert(number);
        }
        let longest = phrases.iter().map(|phrase| phrase.words.len()).max().unwrap_or_default();
        Self { phrases, vocabulary, longest }
    }

    /// Calls `on_match` with the index of a phrase and the spans of its words as soon as the last
    /// word of the phrase is read, until the callback breaks.
    pub(super) fn each(
        &self,
        text: &str,
        mut on_match: impl FnMut(usize, &[Span]) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let wanted: Vec<Vec<usize>> =
            self.phrases.iter().map(|phrase| self.numbers(phrase)).collect();
        let mut window: Vec<Seen> = Vec::new();
        let mut spans = Vec::new();
        words::for_each_word(text, |word| {
            let head_length = word.lexeme.chars().next().map_or(0, char::len_utf8);
            let head = (word.kind != WordKind::Whole).then(|| &word.lexeme[..head_length]);
            let seen = Seen {
                word: self.vocabulary.get(word.lexeme).copied(),
                head: head.and_then(|head| self.vocabulary.get(head)).copied(),
                start: word.span.start,
                end: word.span.end,
                head_end: word.head_end,
            };
            let is_known = seen.word.is_some() || seen.head.is_some();
            // Words before the longest phrase are not needed any more. Dropping them only
            // occasionally is cheaper.
            if window.len() >= 2 * self.longest {
                window.drain(..window.len() - self.longest);
            }
            window.push(seen);
            if !is_known {
                return ControlFlow::Continue(());
            }
            for (number, phrase) in self.phrases.iter().enumerate() {
                if ends_with(&window, &wanted[number], phrase.is_prefix, &mut spans) {
                    on_match(number, &spans)?;
                }
            }
            ControlFlow::Continue(())
        })
    }

    fn numbers(&self, phrase: &Phrase) -> Vec<usize> {
        phrase.words.iter().filter_map(|word| self.vocabulary.get(word.as_str())).copied().collect()
    }
}

/// Returns whether the window ends with a phrase. If so, sets `spans` to the spans of its words.
fn ends_with(window: &[Seen], phrase: &[usize], is_prefix: bool, spans: &mut Vec<Span>) -> bool {
    let Some(begin) = window.len().checked_sub(phrase.len()) else {
        return false;
    };
    let tail = &window[begin..];
    let last = phrase.len().saturating_sub(1);
    let is_phrase = tail.iter().zip(phrase).enumerate().all(|(place, (seen, wanted))| {
        let word = if is_prefix && place == last { seen.head } else { seen.word };
        word == Some(*wanted)
    });
    if is_phrase {
        spans.clear();
        spans.extend(tail.iter().enumerate().map(|(place, seen)| {
            let end = if is_prefix && place == last { seen.head_end } else { seen.end };
            seen.start..end
        }));
    }
    is_phrase
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Formats a parsed query: phrases with spaces between words, prefixes with `*`, excluded
    /// phrases with `-`, alternatives with ` | `.
    fn shown(text: &str) -> String {
        let show = |sign: &str, phrase: &Phrase| {
            format!("{sign}{}{}", phrase.words.join(" "), if phrase.is_prefix { "*" } else { "" })
        };
        let alternative = |alternative: &Alternative| {
            let required = alternative.required.iter().map(|phrase| show("", phrase));
            let excluded = alternative.excluded.iter().map(|phrase| show("-", phrase));
            required.chain(excluded).collect::<Vec<_>>().join(", ")
        };
        let alternatives = Query::parse(text).alternatives;
        alternatives.iter().map(alternative).collect::<Vec<_>>().join(" | ")
    }

    #[test]
    fn queries_are_parsed() {
        for (text, expected) in [
            ("tea", "tea"),
            ("green teas", "green, tea"),
            (r#""green tea" cake"#, "green tea, cake"),
            ("“green tea” «black tea»", "green tea, black tea"),
            ("tea or coffee", "tea | coffe"),
            ("tea -coffee", "tea, -coffe"),
            ("tea OR coffee -milk", "tea | coffe, -milk"),
            ("-milk", "-milk"),
            (r#"-"cold milk" -tea"#, "-cold milk, -tea"),
            ("-milk or tea", "-milk | tea"),
            ("NEAR(a b) title:x* ^y {z}", "near a, b, titl x, y, z"),
            (r#"unclosed "phrase here"#, "unclos, phrase here"),
            (r#"a"b"c"#, "a, b, c"),
            (r#"" - -- *** ""#, ""),
            ("- plain", "plain"),
            ("or", ""),
            ("\"or\"", "or"),
            ("report_final.pdf", "report final pdf"),
            ("数", "数*"),
            ("数据", "数据"),
            ("数据库", "数据 据库"),
            ("数据v2库", "数据 据 v2 库*"),
            ("\"数据 迁移\"", "数据 据 迁移"),
            ("🎉", "🎉"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn a_note_matches_as_a_whole_and_phrases_within_one_field() {
        let fields = ["Green tea", "black", "coffee beans and 数据库迁移"];
        for (query, expected) in [
            ("green beans", true),
            ("\"green tea\" black", true),
            ("\"tea black\"", false),
            ("beans -tea", false),
            ("-milk", true),
            ("-milk -beans", false),
            ("milk or beans", true),
            ("milk or -beans", false),
            ("-\"tea green\"", true),
            ("据库迁", true),
            ("移", true),
            ("库数", false),
        ] {
            assert_eq!(Query::parse(query).matches(fields), expected, "{query}");
        }
    }

    proptest! {
        #[test]
        fn a_text_is_found_by_itself(text in "(\\PC|[a-z数据ไทคกاй각 .@/'-]){1,60}") {
            let quoted: String = text.chars().filter(|character| !is_quote(*character)).collect();
            let query = Query::parse(&format!("\"{quoted}\""));
            prop_assert!(query.is_empty() || query.matches([quoted.as_str()]), "{:?}", query);
        }

        #[test]
        fn any_substring_of_a_text_without_spaces_finds_it(
            text in "[数据库迁移ะกขあいアイ가나다]{2,12}",
            begin: prop::sample::Index,
            length in 1_usize..6,
        ) {
            let characters: Vec<char> = text.chars().collect();
            let begin = begin.index(characters.len());
            let part: String = characters[begin..].iter().take(length).collect();
            // A combining mark at the beginning belongs to the character before it.
            prop_assert!(Query::parse(&part).matches([text.as_str()]), "{part} in {text}");
        }
    }
}
