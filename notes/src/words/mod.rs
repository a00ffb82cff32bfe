//! Splits texts into words. Used for indexing notes, parsing queries and marking matches, so that
//! all three agree on every database.
//!
//! - Letters are folded ([`fold`]): case, accents, width and spelling variants do not matter.
//! - All other characters separate words, so the parts of a file name, a URL, an e-mail address or
//!   `ABC-1234` are separate words. An emoji is a word.
//! - Words of ASCII letters are stemmed as English. There are no stop words.
//! - Scripts that are written without spaces, and Hangul, whose particles follow the noun without a
//!   space, are split into overlapping pairs of characters: `数据库` becomes `数据`, `据库`, `库`.
//!   Consecutive pairs find any substring of two or more characters. Since every character begins
//!   exactly one word, a single character is found as the prefix of a word.
//!
//! A change of these rules requires a new `VERSION` in `notes/src/store/index.rs`.

use std::{mem, ops::ControlFlow, ops::Range};

use rust_stemmers::{Algorithm, Stemmer};
use unicode_normalization::char::compose;

use self::fold::Piece;

mod fold;

pub(crate) use fold::extends_previous_character;

/// The maximum length of a word in characters. The rest of a longer one becomes the next word, in
/// notes and in queries alike: Postgres stores lexemes of at most 2,046 bytes.
const MAX_LENGTH: usize = 64;

/// A word of a text.
#[derive(Debug)]
pub(crate) struct Word<'a> {
    /// The normalized form that the index contains.
    pub(crate) lexeme: &'a str,
    pub(crate) kind: WordKind,
    /// The byte range of the word in the text.
    pub(crate) span: Range<usize>,
    /// The end of the first character in the text; for a [`WordKind::Whole`], the end of the word.
    pub(crate) head_end: usize,
}

/// How a word relates to its neighbors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WordKind {
    /// A separate word.
    Whole,
    /// Two characters of a run without spaces. The next word begins with the second one.
    Pair,
    /// The last character of a run without spaces.
    Last,
}

/// Calls `on_word` for each word of the text, in order, until the callback breaks.
pub(crate) fn for_each_word<F>(text: &str, on_word: F) -> ControlFlow<()>
where
    F: FnMut(Word<'_>) -> ControlFlow<()>,
{
    let mut splitter = Splitter::new(on_word);
    for (start, character) in text.char_indices() {
        let span = start..start + character.len_utf8();
        let mut flow = ControlFlow::Continue(());
        fold::fold(character, |piece| {
            if flow.is_continue() {
                flow = splitter.push(piece, &span);
            }
        });
        flow?;
    }
    splitter.close()
}

/// A character of a run without spaces.
struct Unit {
    character: char,
    span: Range<usize>,
}

/// Splits the folded characters of a text into words.
struct Splitter<F> {
    on_word: F,
    stemmer: Stemmer,
    /// The current word, folded. Empty within a run without spaces.
    word: String,
    length: usize,
    span: Range<usize>,
    /// The last one or two characters of the current run. The last one may still be changed by a
    /// following mark.
    run: Vec<Unit>,
    pair: String,
}

impl<F: FnMut(Word<'_>) -> ControlFlow<()>> Splitter<F> {
    fn new(on_word: F) -> Self {
        Self {
            on_word,
            stemmer: Stemmer::create(Algorithm::English),
            word: String::new(),
            length: 0,
            span: 0..0,
            run: Vec::with_capacity(2),
            pair: String::new(),
        }
    }

    fn push(&mut self, piece: Piece, span: &Range<usize>) -> ControlFlow<()> {
        match piece {
            Piece::Letter(letter) => {
                self.close_run()?;
                self.push_letter(letter, span)
            }
            Piece::Unspaced(character) => {
                self.close_word()?;
                self.push_unit(character, span)
            }
            Piece::Mark(mark) => self.push_mark(mark, span),
            Piece::Accent(accent) => {
                self.push_accent(accent, span);
                ControlFlow::Continue(())
            }
            Piece::Pictograph(character) => {
                self.close()?;
                let mut buffer = [0; 4];
                (self.on_word)(Word {
                    lexeme: character.encode_utf8(&mut buffer),
                    kind: WordKind::Whole,
                    span: span.clone(),
                    head_end: span.end,
                })
            }
            Piece::Ignored => ControlFlow::Continue(()),
            Piece::Separator => self.close(),
        }
    }

    fn push_letter(&mut self, letter: char, span: &Range<usize>) -> ControlFlow<()> {
        if self.length == MAX_LENGTH {
            self.close_word()?;
        }
        if self.word.is_empty() {
            self.span.start = span.start;
        }
        self.word.push(letter);
        self.length += 1;
        self.span.end = span.end;
        ControlFlow::Continue(())
    }

    fn push_unit(&mut self, character: char, span: &Range<usize>) -> ControlFlow<()> {
        if let Some(last) = self.run.last_mut()
            && let Some(composed) = compose(last.character, character)
        {
            last.character = composed;
            last.span.end = span.end;
            return ControlFlow::Continue(());
        }
        if self.run.len() == 2 {
            self.emit_pair()?;
            self.run.remove(0);
        }
        self.run.push(Unit { character, span: span.clone() });
        ControlFlow::Continue(())
    }

    /// Appends a mark that is part of the spelling, such as a vowel sign, to the preceding word.
    fn push_mark(&mut self, mark: char, span: &Range<usize>) -> ControlFlow<()> {
        if !self.run.is_empty() {
            return self.push_unit(mark, span);
        }
        let Some(last) = self.word.chars().next_back() else {
            return ControlFlow::Continue(());
        };
        if let Some(composed) = compose(last, mark) {
            self.word.pop();
            self.word.push(composed);
            self.span.end = span.end;
            return ControlFlow::Continue(());
        }
        self.push_letter(mark, span)
    }

    /// Drops an accent, unless it turns the preceding letter into another one.
    fn push_accent(&mut self, accent: char, span: &Range<usize>) {
        if let Some(last) = self.run.last_mut() {
            last.span.end = span.end;
        } else if let Some(last) = self.word.chars().next_back() {
            if let Some(letter) = fold::letter_with(last, accent) {
                self.word.pop();
                self.word.push(letter);
            }
            self.span.end = span.end;
        }
    }

    fn close(&mut self) -> ControlFlow<()> {
        self.close_word()?;
        self.close_run()
    }

    fn close_word(&mut self) -> ControlFlow<()> {
        if self.word.is_empty() {
            return ControlFlow::Continue(());
        }
        let word = mem::take(&mut self.word);
        self.length = 0;
        let span = self.span.clone();
        let head_end = span.end;
        // The stemmer does not change words of one or two letters.
        let flow = if word.len() > 2 && word.bytes().all(|byte| byte.is_ascii_lowercase()) {
            let lexeme = self.stemmer.stem(&word);
            (self.on_word)(Word { lexeme: &lexeme, kind: WordKind::Whole, span, head_end })
        } else {
            (self.on_word)(Word { lexeme: &word, kind: WordKind::Whole, span, head_end })
        };
        // Reuses the allocation for the next word.
        self.word = word;
        self.word.clear();
        flow
    }

    fn close_run(&mut self) -> ControlFlow<()> {
        if self.run.len() == 2 {
            self.emit_pair()?;
        }
        let Some(last) = self.run.pop() else {
            return ControlFlow::Continue(());
        };
        self.run.clear();
        let mut buffer = [0; 4];
        (self.on_word)(Word {
            lexeme: last.character.encode_utf8(&mut buffer),
            kind: WordKind::Last,
            head_end: last.span.end,
            span: last.span,
        })
    }

    fn emit_pair(&mut self) -> ControlFlow<()> {
        let [first, second] = &self.run[..] else {
            return ControlFlow::Continue(());
        };
        self.pair.clear();
        self.pair.push(first.character);
        self.pair.push(second.character);
        (self.on_word)(Word {
            lexeme: &self.pair,
            kind: WordKind::Pair,
            span: first.span.start..second.span.end,
            head_end: first.span.end,
        })
    }
}

#[cfg(test)]
mod tests;
