//! The name that a client gives itself, made harmless for a page that a person reads.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The most characters that are shown.
pub const MAX_CHARS: usize = 64;

/// What is shown for a client that gives itself no readable name.
const NAMELESS: &str = "An app without a name";

/// A name without anything that is invisible, changes the direction of text or breaks the line. It
/// proves nothing: whoever shows it has to say so, and to escape it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DisplayName(String);

impl DisplayName {
    /// Keeps of a text what can be shown.
    pub fn sanitize(text: &str) -> Self {
        let mut name = String::new();
        let words = text
            .split(|it: char| it.is_whitespace() || it.is_control())
            .map(|word| word.chars().filter(|it| !is_invisible(*it)).collect::<String>());
        for word in words.filter(|it| !it.is_empty()) {
            if !name.is_empty() {
                name.push(' ');
            }
            name.push_str(&word);
            if name.chars().nth(MAX_CHARS).is_some() {
                break;
            }
        }
        if let Some((end, _)) = name.char_indices().nth(MAX_CHARS) {
            let clipped = name.char_indices().nth(MAX_CHARS - 1).map_or(end, |(at, _)| at);
            name.truncate(clipped);
            name.push('…');
        }
        if name.is_empty() {
            name.push_str(NAMELESS);
        }
        Self(name)
    }

    /// The name to show.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DisplayName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Characters without a shape of their own that change how others are read: format characters such
/// as the marks and embeddings of bidirectional text, joiners, variation selectors, tags, fillers,
/// and combining marks, which stack over the line and over its neighbours.
fn is_invisible(it: char) -> bool {
    matches!(it,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{d7fc}'..='\u{f8ff}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{ffff}'
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{10ffff}'
        // Zalgo.
        | '\u{300}'..='\u{36f}' | '\u{483}'..='\u{489}' | '\u{1ab0}'..='\u{1aff}'
        | '\u{1dc0}'..='\u{1dff}' | '\u{20d0}'..='\u{20ff}' | '\u{fe20}'..='\u{fe2f}'
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_of_real_clients_stay_as_they_are() {
        for name in [
            "Claude Code (notes)",
            "Visual Studio Code",
            "MCP Inspector",
            "Ünïcode Çlient",
            "メモ",
            "ملاحظات",
            "GitHub",
        ] {
            assert_eq!(DisplayName::sanitize(name).as_str(), name);
        }
    }

    #[test]
    fn what_misleads_is_taken_out() {
        for (text, shown) in [
            ("  Two\t\n words  ", "Two words"),
            ("a\u{202e}b\u{202c}", "ab"),
            ("\u{2066}x\u{2069}", "x"),
            ("zero\u{200b}width\u{feff}", "zerowidth"),
            ("so\u{ad}ft", "soft"),
            ("nul\0led", "nul led"),
            ("esc\u{1b}[31m", "esc [31m"),
            ("z\u{335}\u{321}a\u{489}", "za"),
            ("tag\u{e0041}ged", "tagged"),
            ("line\u{2028}break", "line break"),
            ("", NAMELESS),
            (" \u{200b} \u{3164}", NAMELESS),
            // Markup is text; the page escapes it.
            ("<script>alert(1)</script>", "<script>alert(1)</script>"),
        ] {
            assert_eq!(DisplayName::sanitize(text).as_str(), shown, "{text:?}");
        }
        let long = DisplayName::sanitize(&"x".repeat(5_000));
        assert_eq!(long.as_str().chars().count(), MAX_CHARS);
        assert!(long.as_str().ends_with('…'));
        let exact = "x".repeat(MAX_CHARS);
        assert_eq!(DisplayName::sanitize(&exact).as_str(), exact);
    }

    proptest! {
        #[test]
        fn a_name_is_short_visible_and_stays_the_same(text in any::<String>()) {
            let name = DisplayName::sanitize(&text);
            let count = name.as_str().chars().count();
            prop_assert!((1..=MAX_CHARS).contains(&count));
            prop_assert!(!name.as_str().chars().any(|it| it.is_control() || is_invisible(it)));
            prop_assert_eq!(DisplayName::sanitize(name.as_str()), name);
        }
    }
}
