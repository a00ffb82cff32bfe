//! What a search asks for, read once and then put in the syntax of each database, which never sees
//! what a person typed.
//!
//! Terms are separated by white space and must all occur. `"…"` is a phrase, `OR` stands between
//! alternatives and binds less than anything else, a leading `-` excludes. A term of several words,
//! such as `foo@bar.com`, is a phrase too. A term without any word is ignored.

use std::{collections::HashMap, mem, ops::ControlFlow};

use crate::words::{self, WordKind};

/// A query. Of its alternatives one has to match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) alternatives: Vec<Alternative>,
}

/// What stands between two `OR`s. It has at least one phrase.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Alternative {
    /// What has to occur.
    pub(super) required: Vec<Phrase>,
    /// What must not occur.
    pub(super) excluded: Vec<Phrase>,
}

/// SearchQuery that follow each other, at least one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Phrase {
    pub(super) words: Vec<String>,
    /// Whether the last word is only the beginning of one: a single character of a script without
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
                Term::With(text) => current.required.extend(Phrase::parse(text)),
                Term::Without(text) => current.excluded.extend(Phrase::parse(text)),
            }
        }
        alternatives.push(current);
        alternatives.retain(|it| !(it.required.is_empty() && it.excluded.is_empty()));
        Self { alternatives }
    }

    /// Whether it holds no word.
    pub(super) fn is_empty(&self) -> bool {
        self.alternatives.is_empty()
    }

    /// How many words it has, those that it excludes included.
    pub(super) fn words(&self) -> usize {
        let phrases =
            self.alternatives.iter().flat_map(|it| it.required.iter().chain(&it.excluded));
        phrases.map(|phrase| phrase.words.len()).sum()
    }

    /// Whether the answer depends on which words follow each other.
    pub(super) fn has_phrases(&self) -> bool {
        let mut phrases =
            self.alternatives.iter().flat_map(|it| it.required.iter().chain(&it.excluded));
        phrases.any(|phrase| phrase.words.len() > 1)
    }

    /// Whether a note matches: what the databases decide, too, by their index.
    pub(super) fn matches<'a>(&self, fields: impl IntoIterator<Item = &'a str>) -> bool {
        let all = self.alternatives.iter().flat_map(|it| it.required.iter().chain(&it.excluded));
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
            // Takes as many as there are, whether or not the first decides.
            let states: Vec<bool> = found.by_ref().take(phrases.len()).collect();
            states.into_iter().all(|is_found| is_found == wanted)
        };
        let mut matches = false;
        for alternative in &self.alternatives {
            let with = all_of(&alternative.required, true);
            let without = all_of(&alternative.excluded, false);
            matches |= with && without;
        }
        matches
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
            // The pair before it has the last character already, and the text may go on.
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
    With(&'a str),
    Without(&'a str),
    Or,
}

/// What people and their keyboards put around a phrase.
fn is_quote(character: char) -> bool {
    matches!(character, '"' | '“' | '”' | '„' | '‟' | '«' | '»' | '＂' | '「' | '」' | '『' | '』')
}

fn terms(text: &str) -> impl Iterator<Item = Term<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start();
        let mut characters = rest.chars();
        let is_unwanted = characters.next()? == '-';
        let from = rest.trim_start_matches('-');
        let quoted = from.strip_prefix(is_quote);
        let (word, after) = if let Some(phrase) = quoted {
            phrase.split_once(is_quote).unwrap_or((phrase, ""))
        } else {
            let end = from.find(|it: char| it.is_whitespace() || is_quote(it));
            from.split_at(end.unwrap_or(from.len()))
        };
        rest = after;
        Some(match (quoted, is_unwanted) {
            (None, false) if word.eq_ignore_ascii_case("or") => Term::Or,
            (_, false) => Term::With(word),
            (_, true) => Term::Without(word),
        })
    })
}

/// Finds phrases in texts.
pub(super) struct Finder<'a> {
    phrases: Vec<&'a Phrase>,
    /// The words of all phrases, and by which number they go here.
    vocabulary: HashMap<&'a str, usize>,
    /// How many words the longest phrase has.
    longest: usize,
}

/// Where a word of the text stands, and which word of the vocabulary it is, and begins with.
struct Seen {
    word: Option<usize>,
    head: Option<usize>,
    start: usize,
    end: usize,
    head_end: usize,
}

/// Where a word of a phrase was found: bytes of the text.
pub(super) type Span = std::ops::Range<usize>;

impl<'a> Finder<'a> {
    pub(super) fn new(phrases: impl IntoIterator<Item = &'a Phrase>) -> Self {
        let phrases: Vec<&Phrase> = phrases.into_iter().collect();
        let mut vocabulary = HashMap::new();
        for word in phrases.iter().flat_map(|it| &it.words) {
            let number = vocabulary.len();
            vocabulary.entry(word.as_str()).or_insert(number);
        }
        let longest = phrases.iter().map(|it| it.words.len()).max().unwrap_or_default();
        Self { phrases, vocabulary, longest }
    }

    /// Calls `on` with the number of each phrase and where its words stand, as soon as its last word
    /// is read, until it breaks.
    pub(super) fn each(
        &self,
        text: &str,
        mut on: impl FnMut(usize, &[Span]) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let wanted: Vec<Vec<usize>> = self.phrases.iter().map(|it| self.numbers(it)).collect();
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
            // Now and then is enough: what is older than the longest phrase is never looked at.
            if window.len() >= 2 * self.longest {
                window.drain(..window.len() - self.longest);
            }
            window.push(seen);
            if !is_known {
                return ControlFlow::Continue(());
            }
            for (number, phrase) in self.phrases.iter().enumerate() {
                if ends_with(&window, &wanted[number], phrase.is_prefix, &mut spans) {
                    on(number, &spans)?;
                }
            }
            ControlFlow::Continue(())
        })
    }

    fn numbers(&self, phrase: &Phrase) -> Vec<usize> {
        phrase.words.iter().filter_map(|word| self.vocabulary.get(word.as_str())).copied().collect()
    }
}

/// Whether what was seen last is a phrase, and where its words stand.
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

    /// Phrases with spaces between words, a prefix with `*`, excluded ones with `-`, alternatives
    /// with ` | `.
    fn shown(text: &str) -> String {
        let phrase = |sign: &str, it: &Phrase| {
            format!("{sign}{}{}", it.words.join(" "), if it.is_prefix { "*" } else { "" })
        };
        let alternative = |it: &Alternative| {
            let with = it.required.iter().map(|it| phrase("", it));
            with.chain(it.excluded.iter().map(|it| phrase("-", it))).collect::<Vec<_>>().join(", ")
        };
        let alternatives = Query::parse(text).alternatives;
        alternatives.iter().map(alternative).collect::<Vec<_>>().join(" | ")
    }

    #[test]
    fn questions_are_read() {
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
            let quoted: String = text.chars().filter(|it| !is_quote(*it)).collect();
            let query = Query::parse(&format!("\"{quoted}\""));
            prop_assert!(query.is_empty() || query.matches([quoted.as_str()]), "{:?}", query);
        }

        #[test]
        fn two_characters_find_any_text_without_spaces_that_holds_them(
            text in "[数据库迁移ะกขあいアイ가나다]{2,12}",
            begin: prop::sample::Index,
            length in 1_usize..6,
        ) {
            let characters: Vec<char> = text.chars().collect();
            let begin = begin.index(characters.len());
            let part: String = characters[begin..].iter().take(length).collect();
            // A mark at the beginning belongs to the character before it.
            prop_assert!(Query::parse(&part).matches([text.as_str()]), "{part} in {text}");
        }
    }
}
