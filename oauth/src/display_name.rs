//! The self-declared name of a client, sanitized for display.

use std::fmt;

use platform::plain;
use serde::{Deserialize, Serialize};

/// The maximum length of a displayed name, in characters.
pub const MAX_CHARS: usize = 64;

/// The displayed name of a client without a readable name.
const NAMELESS: &str = "An app without a name";

/// A name without characters that are invisible, change the text direction or break the line. It is
/// unverified: a page that shows it must say so, and must escape it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DisplayName(String);

impl DisplayName {
    /// Sanitizes a text: removes characters that must not be shown, and truncates it to
    /// [`MAX_CHARS`].
    pub fn sanitize(text: &str) -> Self {
        let mut name = plain(text);
        name.retain(|it| !is_stacked(it));
        // Removing a character between two spaces can leave several spaces.
        name = plain(&name);
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

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DisplayName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Returns whether a character is a combining mark, which can stack over other lines and
/// characters.
fn is_stacked(character: char) -> bool {
    matches!(character,
        '\u{300}'..='\u{36f}' | '\u{483}'..='\u{489}' | '\u{1ab0}'..='\u{1aff}'
        | '\u{1dc0}'..='\u{1dff}' | '\u{20d0}'..='\u{20ff}' | '\u{fe20}'..='\u{fe2f}'
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use platform::quoted::is_invisible;

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
    fn misleading_characters_are_removed() {
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
            ("Say “yes” to \"me\"", "Say 'yes' to 'me'"),
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
            let removed = |it: char| it.is_control() || is_invisible(it) || is_stacked(it);
            prop_assert!(!name.as_str().chars().any(removed));
            prop_assert_eq!(DisplayName::sanitize(name.as_str()), name);
        }
    }
}
