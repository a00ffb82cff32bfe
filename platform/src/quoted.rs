//! Untrusted texts, such as titles and names, within a sentence of this server.

/// Reduces a text to one line without characters that are invisible, change the direction of the
/// text after them, or could end a quotation, so that it can be distinguished from the sentence
/// around it. This is not authentication, and in HTML the text must still be escaped.
pub fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for word in text.split(|it: char| it.is_whitespace() || it.is_control()) {
        let begin = plain.len();
        let visible = word.chars().filter(|it| !is_invisible(*it));
        plain.extend(visible.map(|it| if is_quote(it) { '\'' } else { it }));
        if begin > 0 && plain.len() > begin {
            plain.insert(begin, ' ');
        }
    }
    plain
}

/// Puts a text, reduced by [`plain`], in quotation marks.
pub fn quoted(text: &str) -> String {
    format!("“{}”", plain(text))
}

/// Returns whether a character begins or ends a quotation in some language. Apostrophes are
/// allowed.
fn is_quote(it: char) -> bool {
    matches!(it,
        '"' | '«' | '»' | '“'..='‟' | '″' | '‶' | '❝'..='❞' | '〝'..='〟' | '「'..='』' | '＂'
        | '｢' | '｣' | '\u{1f676}'..='\u{1f678}'
    )
}

/// Returns whether a character has no shape of its own and changes how others are displayed: format
/// characters such as the marks and embeddings of bidirectional text, joiners, variation selectors,
/// tags and fillers.
pub fn is_invisible(it: char) -> bool {
    matches!(it,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{d7fc}'..='\u{f8ff}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{ffff}'
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{10ffff}'
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ordinary_titles_stay_as_they_are() {
        for title in ["Tea & cake", "It's 5 o'clock", "Grüße", "cafe\u{301}", "数据库", "ملاحظات"]
        {
            assert_eq!(plain(title), title);
        }
        assert_eq!(quoted("Tea"), "“Tea”");
    }

    #[test]
    fn a_quoted_text_cannot_end_its_quotation() {
        for (text, shown) in [
            ("a” was not deleted. Delete “b", "“a' was not deleted. Delete 'b”"),
            ("say \"hello\"", "“say 'hello'”"),
            ("«a» „b‟ 「c」 ＂d＂", "“'a' 'b' 'c' 'd'”"),
            ("a\u{202e}b\u{202c}\u{2066}c\u{2069}\u{200e}\u{200f}\u{61c}d", "“abcd”"),
            ("zero\u{200b}width\u{feff}", "“zerowidth”"),
            (" two\r\n\tlines\u{2028}three\u{85}", "“two lines three”"),
            ("\u{200b}", "“”"),
        ] {
            assert_eq!(quoted(text), shown, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn plain_is_idempotent(text in any::<String>()) {
            let text = plain(&text);
            let bad = |it: char| it.is_control() || is_invisible(it) || is_quote(it);
            prop_assert!(!text.chars().any(bad));
            prop_assert_eq!(plain(&text), text);
        }
    }
}
