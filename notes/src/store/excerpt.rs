//! The beginning of a text, and the marker of search results.

/// The maximum length of an excerpt, in characters.
pub(super) const EXCERPT: usize = 200;
/// The marker before and after each matching word in a search result.
pub const MARK: &str = "**";

/// Shortens a text to [`EXCERPT`] characters, with “…” at the end if it was longer.
pub(super) fn excerpt(mut beginning: String) -> String {
    if beginning.len() <= EXCERPT {
        return beginning; // no more characters than bytes
    }
    if let Some((end, _)) = beginning.char_indices().nth(EXCERPT) {
        beginning.truncate(end);
        beginning.pop(); // leaves room for “…”
        beginning.push('…');
    }
    beginning
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortened_excerpt_ends_with_an_ellipsis() {
        assert_eq!(excerpt("short".into()), "short");
        assert_eq!(excerpt("ü".repeat(EXCERPT)), "ü".repeat(EXCERPT));
        assert_eq!(excerpt("ü".repeat(EXCERPT + 1)), "ü".repeat(EXCERPT - 1) + "…");
    }
}
