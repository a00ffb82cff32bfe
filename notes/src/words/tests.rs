use proptest::prelude::*;

use super::*;

fn lexemes(text: &str) -> Vec<String> {
    let mut lexemes = Vec::new();
    let _ended = for_each_word(text, |word| {
        lexemes.push(word.lexeme.to_owned());
        ControlFlow::Continue(())
    });
    lexemes
}

#[test]
fn texts_are_split_into_words() {
    for (text, expected) in [
        ("", &[][..]),
        ("… — * \u{301} \u{fe0f}", &[]),
        ("The meetings", &["the", "meet"]),
        ("client/server", &["client", "server"]),
        ("report_final.pdf", &["report", "final", "pdf"]),
        ("foo@bar.com:ABC-1234", &["foo", "bar", "com", "abc", "1234"]),
        ("don’t", &["don", "t"]),
        ("数据库v2", &["数据", "据库", "库", "v2"]),
        ("회의록", &["회의", "의록", "록"]),
        ("ภาษา", &["ภา", "าษ", "ษา", "า"]),
        ("サーバー", &["さー", "ーば", "ばー", "ー"]),
        ("बैठक की", &["बैठक", "की"]),
        ("🎉party👍🏽", &["🎉", "parti", "👍"]),
        ("Foo™ © 10㎏", &["foo", "tm", "10", "kg"]),
        ("1️⃣", &["1"]),
    ] {
        assert_eq!(lexemes(text), expected, "{text}");
    }
    let long = "x".repeat(MAX_LENGTH + 1);
    assert_eq!(lexemes(&long), [&long[..MAX_LENGTH], "x"]);
}

#[test]
fn different_spellings_are_one_word() {
    for (one, other) in [
        ("CAFÉ", "cafe"),
        ("cafe\u{301}", "café"),
        ("Zürich", "zurich"),
        ("Straße", "STRASSE"),
        ("ẞ", "ss"),
        ("Łódź", "lodz"),
        ("smørrebrød", "smorrebrod"),
        ("œuvre ﬁn", "oeuvre fin"),
        ("Ærø Þór Đà", "aero thor da"),
        ("İSTANBUL ılık", "istanbul ilik"),
        ("ＡＢＣ１２３", "abc123"),
        ("ＣＡＦＥ\u{301}", "cafe"),
        ("ｶﾞｷﾞ", "ガギ"),
        ("か\u{3099}", "が"),
        ("リンゴ", "りんご"),
        ("각", "\u{1100}\u{1161}\u{11a8}"),
        ("ΟΔΌΣ", "οδος"),
        ("ёлка", "елка"),
        ("и\u{306}од", "ЙОД"),
        ("за\u{301}мок", "замок"),
        ("مُحَمَّد", "محمد"),
        ("أحمد", "احمد"),
        ("کتابی", "كتابي"),
        ("שָׁלוֹם", "שלום"),
        ("٢٠٢٦ २०२६", "2026 2026"),
        ("Daten\u{ad}bank", "Datenbank"),
        ("می\u{200c}خواهم", "میخواهم"),
        ("❤\u{fe0f}", "❤"),
        ("x²", "x2"),
        ("ज़", "ज"),
    ] {
        assert_eq!(lexemes(one), lexemes(other), "{one} {other}");
    }
    for (one, other) in [("и", "й"), ("か", "が"), ("कि", "का"), ("i", "y")] {
        assert_ne!(lexemes(one), lexemes(other), "{one} {other}");
    }
}

proptest! {
    /// Properties that the indexes of both databases rely on.
    #[test]
    fn words_are_small_and_in_order(text in "(\\PC|[ -~]|[数ไก가\u{301}\u{3099}]){0,200}") {
        let mut last = 0;
        let _ended = for_each_word(&text, |word| {
            assert!(!word.lexeme.is_empty() && word.lexeme.len() <= 4 * MAX_LENGTH);
            let separates = |byte: u8| byte.is_ascii() && !byte.is_ascii_alphanumeric();
            assert!(!word.lexeme.bytes().any(separates), "{:?}", word.lexeme);
            assert!(!word.lexeme.bytes().any(|byte| byte.is_ascii_uppercase()));
            assert!(text.get(word.span.clone()).is_some_and(|word| !word.is_empty()), "{word:?}");
            assert!(word.span.start >= last && word.span.start < word.head_end);
            assert!(word.head_end <= word.span.end && text.is_char_boundary(word.head_end));
            last = word.span.start;
            ControlFlow::Continue(())
        });
    }
}

#[test]
fn the_stemmer_does_not_change_words_of_one_or_two_letters() {
    let stemmer = Stemmer::create(Algorithm::English);
    for first in 'a'..='z' {
        assert_eq!(stemmer.stem(&first.to_string()), first.to_string());
        for second in 'a'..='z' {
            let word = format!("{first}{second}");
            assert_eq!(stemmer.stem(&word), word);
        }
    }
}
