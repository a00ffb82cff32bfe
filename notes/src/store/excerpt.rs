//! The beginning of a note's text, as lists show it.

/// Characters of a body that a list shows.
pub(super) const EXCERPT: usize = 200;
/// What stands before and after each found word.
pub const MARK: &str = "**";

pub(super) fn excerpt(mut beginning: String) -> String {
    if let Some((end, _)) = beginning.char_indices().nth(EXCERPT) {
        beginning.truncate(end);
        beginning.pop(); // so that “…” still fits
        beginning.push('…');
    }
    beginning
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_says_when_there_is_more() {
        assert_eq!(excerpt("short".into()), "short");
        assert_eq!(excerpt("ü".repeat(EXCERPT)), "ü".repeat(EXCERPT));
        assert_eq!(excerpt("ü".repeat(EXCERPT + 1)), "ü".repeat(EXCERPT - 1) + "…");
    }
}
