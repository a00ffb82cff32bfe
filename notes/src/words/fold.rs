//! What of a character matters when words are compared.
//!
//! The compatibility decomposition (NFKD) makes one form of full-width and half-width characters,
//! ligatures, circled digits and precomposed letters. Then case, accents, and what only some
//! keyboards write are dropped.

use any_ascii::any_ascii_char;
use icu_properties::{
    CodePointMapData, CodePointSetData,
    props::{ExtendedPictographic, GeneralCategory, LineBreak, RegionalIndicator, Script},
};
use unicode_normalization::char::{
    canonical_combining_class, compose, decompose_compatible, is_combining_mark,
};

/// What a character contributes to words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// A letter or digit.
    Letter(char),
    /// A character of a script that is split into pairs.
    Unspaced(char),
    /// A mark that belongs to the spelling.
    Mark(char),
    /// A mark that most writers leave out.
    Accent(char),
    /// A word by itself.
    Pictograph(char),
    /// Neither seen nor a separator, such as a soft hyphen.
    Ignored,
    Separator,
}

/// The class of nuktas, which change a consonant of an Indic script and are often left out.
const NUKTA: u8 = 7;

/// Gives the pieces of a character, in order.
pub(crate) fn fold(character: char, mut out: impl FnMut(Piece)) {
    if character.is_ascii() {
        out(ascii(character));
    } else if is_ignored(character) {
        out(Piece::Ignored);
    } else if is_pictograph(character) {
        out(Piece::Pictograph(character));
    } else if matches!(character, '가'..='힣') {
        // Decomposed, it would only have to be composed again.
        out(Piece::Unspaced(character));
    } else {
        // A sign that stands for letters, such as ™, is no part of the word before it.
        let apart = !character.is_alphanumeric() && !is_combining_mark(character);
        if apart {
            out(Piece::Separator);
        }
        match cyrillic(character) {
            Some(letter) => letter.to_lowercase().for_each(|lower| out(Piece::Letter(lower))),
            None => decompose_compatible(character, |part| fold_part(part, &mut out)),
        }
        if apart {
            out(Piece::Separator);
        }
    }
}

/// The letter that an accent makes of another one, where it is a letter of its own and no accent.
pub(crate) fn letter_with(letter: char, accent: char) -> Option<char> {
    compose(letter, accent).and_then(cyrillic)
}

/// Whether the character is no more than a part of the sign before it: a combining mark, a variation
/// selector, the skin tone of an emoji.
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

/// What remains of a letter or digit in lower case.
fn fold_letter(letter: char, out: &mut impl FnMut(Piece)) {
    let category = CodePointMapData::<GeneralCategory>::new().get(letter);
    let script = CodePointMapData::<Script>::new().get(letter);
    match letter {
        _ if is_accent(letter) => out(Piece::Accent(letter)),
        // ł, ß, œ, ı and their like have no decomposition; nor have digits of other scripts.
        _ if script == Script::Latin || category == GeneralCategory::DecimalNumber => {
            any_ascii_char(letter).chars().for_each(|part| out(ascii(part)));
        }
        // Apostrophes and the like that Unicode calls letters, such as the Hawaiian ʻ.
        '\u{2b9}'..='\u{2df}' => out(Piece::Separator),
        // Tatweel only stretches a word.
        'ـ' => out(Piece::Ignored),
        // One letter in Arabic or Persian, two in Unicode, and the feminine ending.
        'ى' | 'ی' => out(Piece::Letter('ي')),
        'ک' => out(Piece::Letter('ك')),
        'ة' => out(Piece::Letter('ه')),
        'ς' => out(Piece::Letter('σ')),
        // Katakana becomes Hiragana, which lies this far before it.
        'ァ'..='ヶ' => {
            let hiragana = char::from_u32(u32::from(letter) - 0x60);
            out(Piece::Unspaced(hiragana.unwrap_or(letter)));
        }
        _ if is_unspaced(letter, script) => out(Piece::Unspaced(letter)),
        _ => out(Piece::Letter(letter)),
    }
}

/// The letter as it counts, if it is a Cyrillic one that Unicode takes apart: й is no и with an
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

/// Marks that are left out by most writers, on whatever they stand: accents, vowel points, variation
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

/// What is invisible and separates nothing: soft hyphens, zero-width characters, and what only
/// chooses how the emoji before it looks.
fn is_ignored(character: char) -> bool {
    CodePointMapData::<GeneralCategory>::new().get(character) == GeneralCategory::Format
        || is_skin_tone(character)
}

fn is_skin_tone(character: char) -> bool {
    matches!(character, '\u{1f3fb}'..='\u{1f3ff}')
}

/// Whether the character is an emoji. Signs below the arrows, such as © and ™, are none here.
fn is_pictograph(character: char) -> bool {
    character >= '\u{2190}'
        && (CodePointSetData::new::<ExtendedPictographic>().contains(character)
            || CodePointSetData::new::<RegionalIndicator>().contains(character))
}

/// Whether a letter is of a script that is split into pairs.
fn is_unspaced(letter: char, script: Script) -> bool {
    // Iteration and length marks that several scripts share.
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
    // Thai, Lao, Khmer, Myanmar and others: lines are broken between words, which are not marked.
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
