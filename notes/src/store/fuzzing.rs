//! Properties of cursors and search queries.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use mcp::UserId;
use sea_orm::DbBackend;

use super::{
    Cursor, MAX_QUERY_WORDS, SearchQuery,
    excerpt::MARK,
    passages::passages,
    query::{Phrase, Query},
    search::statement,
};

/// The maximum length of the passages of a text in characters: two passages with marks.
const MAX_PASSAGES: usize = 2_000;

/// A cursor is refused, or is exactly what this server writes for its position.
pub(crate) fn note_cursor(bytes: &[u8]) {
    let encoded = URL_SAFE_NO_PAD.encode(bytes);
    for text in [Ok(encoded.as_str()), std::str::from_utf8(bytes)].into_iter().flatten() {
        let Ok(cursor) = text.parse::<Cursor>() else { continue };
        assert_eq!(cursor.to_string(), text);
        let year = chrono::Datelike::year(&cursor.created_at);
        assert!((1970..=9999).contains(&year), "the databases can compare {year}");
    }
}

/// A search query, up to the first line end, and the text of a note: the SQL is independent of the words,
/// the words have no meaning in the syntax of an index, and the passages are parts of the text.
pub(crate) fn search_query(bytes: &[u8]) {
    let Ok(input) = std::str::from_utf8(bytes) else { return };
    let (question, text) = input.split_once('\n').unwrap_or((input, ""));
    let Ok(valid) = SearchQuery::parse(question) else { return };
    let query = Query::parse(valid.as_str());
    assert!(query.words() <= MAX_QUERY_WORDS);
    let phrases = || {
        let phrases = query.alternatives.iter();
        phrases.flat_map(|alternative| alternative.required.iter().chain(&alternative.excluded))
    };
    for word in phrases().flat_map(|phrase| &phrase.words) {
        assert!(!word.is_empty());
        let has_meaning = |character: char| {
            character.is_whitespace()
                || character.is_control()
                || "'\"\\*:&|!()".contains(character)
        };
        assert!(!word.contains(has_meaning), "{word:?}");
    }
    if !query.is_empty() {
        let owner = UserId::new("dev:ada");
        for backend in [DbBackend::Postgres, DbBackend::Sqlite] {
            let sql = |query: &Query| statement(backend, &owner, query, 21, 1).sql;
            assert_eq!(sql(&query), sql(&without_words(&query)));
        }
    }
    let shown = passages(text, &query);
    assert!(shown.chars().count() <= MAX_PASSAGES, "{} characters", shown.chars().count());
    if !text.contains('*') {
        assert_eq!(shown.matches(MARK).count() % 2, 0, "marks are paired");
    }
}

/// Returns a query of the same form with other words.
fn without_words(query: &Query) -> Query {
    let mut query = query.clone();
    for alternative in &mut query.alternatives {
        for Phrase { words, .. } in alternative.required.iter_mut().chain(&mut alternative.excluded)
        {
            for word in words {
                "w".clone_into(word);
            }
        }
    }
    query
}
