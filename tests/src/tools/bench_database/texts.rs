//! Generated titles and texts, the same in every run.

use std::fmt::Write as _;

/// The number of different words. The frequency of a word is inversely proportional to its rank, as in natural
/// languages.
const VOCABULARY: f64 = 30_000.0;

/// The sentence in every tenth text.
const CHINESE: &str = "本周完成了数据库迁移。";

/// A generated note.
pub(super) struct Text {
    pub(super) title: String,
    pub(super) body: String,
    pub(super) tags: Vec<String>,
}

/// Returns the note with this number: 200 to 600 characters, one to three tags of 40.
pub(super) fn text(number: u64) -> Text {
    let mut random = Random(scramble(number));
    let title = words(&mut random, 20 + number % 20);
    let characters = 200 + random.below(400);
    let mut body = words(&mut random, characters);
    if number.is_multiple_of(10) {
        body.push(' ');
        body.push_str(CHINESE);
    }
    let mut tags: Vec<String> =
        (0..=number % 3).map(|_| format!("tag{}", random.below(40))).collect();
    tags.dedup();
    Text { title, body, tags }
}

/// Returns the word with this rank; 1 is the most frequent one, which is in nearly every text.
pub(super) fn word(rank: u64) -> String {
    const CONSONANTS: &[u8] = b"bdfghklmnprstvz";
    const VOWELS: &[u8] = b"aeiou";
    let (consonants, vowels) = (CONSONANTS.len() as u64, VOWELS.len() as u64);
    let at = |letters: &[u8], index: u64| {
        char::from(letters[usize::try_from(index % letters.len() as u64).unwrap_or(0)])
    };
    let mut word = String::new();
    let mut rest = rank + consonants * vowels;
    while rest > 0 {
        word.push(at(CONSONANTS, rest));
        word.push(at(VOWELS, rest / consonants));
        rest /= consonants * vowels;
    }
    word.push('k');
    word
}

/// Returns words until they have this many characters.
fn words(random: &mut Random, characters: u64) -> String {
    let mut text = String::new();
    while (text.len() as u64) < characters {
        let separator = if text.is_empty() { "" } else { " " };
        write!(text, "{separator}{}", word(random.rank()))
            .expect("writing to a string cannot fail");
    }
    text
}

/// A sequence of numbers that look random.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = scramble(self.0);
        self.0 % limit
    }

    /// Returns the rank of a word.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "a positive number below the size of the vocabulary"
    )]
    fn rank(&mut self) -> u64 {
        let uniform = self.below(1 << 32) as f64 / f64::from(u32::MAX);
        (uniform * VOCABULARY.ln()).exp() as u64
    }
}

/// Mixes the bits of a number (splitmix64).
pub(super) fn scramble(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
