//! Folds characters so that different spellings of a word compare equal.
//!
//! The compatibility decomposition (NFKD) unifies full-width and half-width characters, ligatures,
//! circled digits and precomposed letters. After it, case, accents and differences between
//! keyboards are removed.

use any_ascii::any_ascii_char;
use icu_properties::{
    CodePointMapData, CodePointSetData,
    props::{ExtendedPictographic, GeneralCategory, LineBreak, RegionalIndicator, Script},
};
use unicode_normalization::char::{
    canonical_combining_class, compose, decompose_compatible, is_combining_mark,
};

/// What a character contributes to a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// A letter or digit.
    Letter(char),
    /// A character of a script without spaces, which is split into pairs.
    Unspaced(char),
    /// A combining mark that is part of the spelling.
    Mark(char),
    /// A combining mark that most writers omit.
    Accent(char),
    /// An emoji, which is indexed as a separate word.
    Pictograph(char),
    /// An invisible character that does not separate words, such as a soft hyphen.
    Ignored,
    Separator,
}

/// The canonical combining class of nuktas, which change a consonant of an Indic script and are
/// often omitted.
const NUKTA: u8 = 7;

/// Calls `out` with the pieces of a character, in order.
pub(crate) fn fold(character: char, mut out: impl FnMut(Piece)) {
    if character.is_ascii() {
        out(ascii(character));
    } else if is_ignored(character) {
        out(Piece::Ignored);
    } else if is_pictograph(character) {
        out(Piece::Pictograph(character));
    } else if matches!(character, '가'..='힣') {
        // Avoids a decomposition that would have to be reversed.
        out(Piece::Unspaced(character));
    } else {
        // A symbol that decomposes to letters, such as ™, is not part of the preceding word.
        let is_symbol = !character.is_alphanumeric() && !is_combining_mark(character);
        if is_symbol {
            out(Piece::Separator);
        }
        match cyrillic(character) {
            Some(letter) => letter.to_lowercase().for_each(|lower| out(Piece::Letter(lower))),
            None => decompose_compatible(character, |part| fold_part(part, &mut out)),
        }
        if is_symbol {
            out(Piece::Separator);
        }
    }
}

/// Returns the letter that an accent forms with a letter, if it is a separate letter of the
/// alphabet rather than an accented one.
pub(crate) fn letter_with(letter: char, accent: char) -> Option<char> {
    compose(letter, accent).and_then(cyrillic)
}

/// Returns whether a character only modifies the preceding one: a combining mark, a variation
/// selector, or the skin tone of an emoji.
pub(crate) fn extends_previous_character(character: char) -> bool {
    is_combining_mark(character) || is_skin_tone(character)
}

fn ascii(character: char) -> Piece {
    if character.is_ascii_alphanumeric() {
        Piece::Letter(character.to_ascii_lowercase())
    } else {
        Piece::Separator
    }
}

fn fold_part(part: char, out: &mut impl FnMut(Piece)) {
    if part.is_ascii() {
        out(ascii(part));
    } else if is_accent(part) {
        out(Piece::Accent(part));
    } else if is_combining_mark(part) {
        out(Piece::Mark(part));
    } else if part.is_alphanumeric() {
        part.to_lowercase().for_each(|lower| fold_letter(lower, out));
    } else {
        out(Piece::Separator);
    }
}

/// Folds a lowercase letter or digit.
fn fold_letter(letter: char, out: &mut impl FnMut(Piece)) {
    let category = CodePointMapData::<GeneralCategory>::new().get(letter);
    let script = CodePointMapData::<Script>::new().get(letter);
    match letter {
        _ if is_accent(letter) => out(Piece::Accent(letter)),
        // ł, ß, œ, ı and similar letters have no decomposition, nor do digits of other scripts.
        _ if script == Script::Latin || category == GeneralCategory::DecimalNumber => {
            any_ascii_char(letter).chars().for_each(|part| out(ascii(part)));
        }
        // Modifier letters that look like apostrophes, such as the Hawaiian ʻ.
        '\u{2b9}'..='\u{2df}' => out(Piece::Separator),
        // Tatweel only stretches a word visually.
        'ـ' => out(Piece::Ignored),
        // One letter in Arabic or Persian but two in Unicode, and the feminine ending.
        'ى' | 'ی' => out(Piece::Letter('ي')),
        'ک' => out(Piece::Letter('ك')),
        'ة' => out(Piece::Letter('ه')),
        'ς' => out(Piece::Letter('σ')),
        // Katakana becomes Hiragana, at a constant offset.
        'ァ'..='ヶ' => {
            let hiragana = char::from_u32(u32::from(letter) - 0x60);
            out(Piece::Unspaced(hiragana.unwrap_or(letter)));
        }
        _ if is_unspaced(letter, script) => out(Piece::Unspaced(letter)),
        _ => out(Piece::Letter(letter)),
    }
}

/// Returns the letter to index for a Cyrillic one that NFKD would decompose: й is not и with an
/// accent, whereas ё may be written as е.
fn cyrillic(letter: char) -> Option<char> {
    match letter {
        'ё' | 'ѐ' => Some('е'),
        'Ё' | 'Ѐ' => Some('Е'),
        'ѝ' => Some('и'),
        'Ѝ' => Some('И'),
        '\u{400}'..='\u{481}' | '\u{48a}'..='\u{52f}' => Some(letter),
        _ => None,
    }
}

/// Returns whether a mark is usually omitted, on whichever letter: accents, vowel points, variation
/// selectors.
fn is_accent(character: char) -> bool {
    matches!(character,
        '\u{300}'..='\u{36f}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}'
        | '\u{20d0}'..='\u{20ff}' | '\u{fe20}'..='\u{fe2f}'
        // Hebrew, Arabic and Syriac.
        | '\u{591}'..='\u{5bd}' | '\u{5bf}' | '\u{5c1}'..='\u{5c2}' | '\u{5c4}'..='\u{5c5}'
        | '\u{5c7}' | '\u{610}'..='\u{61a}' | '\u{64b}'..='\u{65f}' | '\u{670}'
        | '\u{6d6}'..='\u{6dc}' | '\u{6df}'..='\u{6e4}' | '\u{6e7}'..='\u{6e8}'
        | '\u{6ea}'..='\u{6ed}' | '\u{730}'..='\u{74a}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}')
        || canonical_combining_class(character) == NUKTA
}

/// Returns whether a character is invisible and does not separate words: soft hyphens, zero-width
/// characters, and modifiers of an emoji.
fn is_ignored(character: char) -> bool {
    CodePointMapData::<GeneralCategory>::new().get(character) == GeneralCategory::Format
        || is_skin_tone(character)
}

fn is_skin_tone(character: char) -> bool {
    matches!(character, '\u{1f3fb}'..='\u{1f3ff}')
}

/// Returns whether a character is an emoji. Symbols before the arrows block, such as © and ™, do
/// not count.
fn is_pictograph(character: char) -> bool {
    character >= '\u{2190}'
        && (CodePointSetData::new::<ExtendedPictographic>().contains(character)
            || CodePointSetData::new::<RegionalIndicator>().contains(character))
}

/// Returns whether a letter belongs to a script that is split into pairs.
fn is_unspaced(letter: char, script: Script) -> bool {
    // Iteration and length marks shared by several scripts.
    let shared = matches!(letter,
        '\u{3005}'..='\u{3007}' | '\u{3031}'..='\u{3035}' | '\u{303b}'..='\u{303c}' | '\u{30fc}');
    let scripts = [
        Script::Han,
        Script::Hiragana,
        Script::Katakana,
        Script::Bopomofo,
        Script::Hangul,
        Script::Yi,
        Script::Tangut,
        Script::Nushu,
        Script::KhitanSmallScript,
    ];
    // Thai, Lao, Khmer, Myanmar and others, in which word boundaries are not marked.
    let breaks = [
        LineBreak::ComplexContext,
        LineBreak::Aksara,
        LineBreak::AksaraPrebase,
        LineBreak::AksaraStart,
    ];
    shared
        || scripts.contains(&script)
        || breaks.contains(&CodePointMapData::<LineBreak>::new().get(letter))
}
