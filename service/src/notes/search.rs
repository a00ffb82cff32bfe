//! Full-text search: the one place where the two databases differ.
//!
//! Both take the same questions (words, `"phrases"`, `OR`, `-excluded`), stem words alike, rank
//! title over tags over text, and mark what they found. Neither ever parses a person's text as its
//! own syntax in a way that could fail. Why the Postgres index holds the owner and the tags as words
//! is told where the index is made, in the migration of notes.

use chrono::{DateTime, Utc};
use entity::{NoteId, notes::TagList};
use mcp::UserId;
use schemars::JsonSchema;
use sea_orm::{
    ConnectionTrait, DbBackend, FromQueryResult, Statement, Value,
    sea_query::{Expr, SimpleExpr},
};
use serde::Serialize;

use super::{
    NotesError, PageSize, Tag, Words,
    passages::{START, STOP, passages},
};

/// What stands before and after each found word.
pub const MARK: &str = "**";

/// What a search found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Hits {
    /// The notes, the best match first.
    pub notes: Vec<Hit>,
    /// Whether there are more: ask with more words.
    pub more: bool,
}

/// A note that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Hit {
    /// The id, to name the note in other calls.
    pub id: NoteId,
    /// The title.
    pub title: String,
    /// The passages of the text that match, with `**` around the words that were found; the
    /// beginning of the text if only the title or a tag matches.
    pub snippet: String,
    /// The tags.
    pub tags: Vec<String>,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

/// Searches a person's notes, the best match first and of equal ones the newest.
pub async fn search(
    db: &impl ConnectionTrait,
    owner: &UserId,
    words: &Words,
    limit: PageSize,
) -> Result<Hits, NotesError> {
    let backend = db.get_database_backend();
    let fetched = i64::from(limit.get()) + 1;
    let statement = match backend {
        DbBackend::Postgres => postgres(owner, words, fetched),
        _ => match sqlite(owner, words, fetched) {
            Some(statement) => statement,
            None => {
                return Ok(Hits { notes: Vec::new(), more: false });
            }
        },
    };
    let mut rows = HitRow::find_by_statement(statement).all(db).await?;
    let more = rows.len() > usize::from(limit.get());
    rows.truncate(usize::from(limit.get()));
    Ok(Hits { notes: rows.into_iter().map(Hit::from).collect(), more })
}

/// That a note of this owner has a tag.
pub(super) fn has_tag(backend: DbBackend, owner: &UserId, tag: &Tag) -> SimpleExpr {
    if backend == DbBackend::Postgres {
        let both = format!("{} & {}", lexeme('=', owner.as_str()), lexeme('#', tag.as_str()));
        Expr::cust_with_values("search @@ $1::tsquery", [both])
    } else {
        let has = "EXISTS (SELECT 1 FROM json_each(notes.tags) WHERE json_each.value = ?)";
        Expr::cust_with_values(has, [tag.as_str()])
    }
}

#[derive(FromQueryResult)]
struct HitRow {
    id: NoteId,
    title: String,
    /// The text, with the found words between [`START`] and [`STOP`].
    marked: String,
    tags: TagList,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl From<HitRow> for Hit {
    fn from(row: HitRow) -> Self {
        Self {
            id: row.id,
            title: row.title,
            snippet: passages(&row.marked),
            tags: row.tags.0,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// The rows are ranked and limited first, so that words are only marked in what is shown. A question
/// without a single word (such as `"…"`) would ask for nothing but the owner, hence `numnode`.
///
/// Words are marked by a question of their own, which knows neither phrases nor AND: with those,
/// `ts_headline` takes gigabytes for a long text of one word repeated.
const POSTGRES: &str = "
SELECT id, title, tags, created_at, updated_at,
    ts_headline('notes_words', body, websearch_to_tsquery('notes_words', $4), $5) AS marked
FROM (
    SELECT id, title, body, tags, created_at, updated_at,
        ts_rank(search, websearch_to_tsquery('notes_words', $3)) AS rank
    FROM notes
    WHERE owner_sub = $1
        AND search @@ ($2::tsquery && websearch_to_tsquery('notes_words', $3))
        AND numnode(websearch_to_tsquery('notes_words', $3)) > 0
    ORDER BY rank DESC, created_at DESC, id DESC
    LIMIT $6
) AS found
ORDER BY rank DESC, created_at DESC, id DESC";

fn postgres(owner: &UserId, words: &Words, limit: i64) -> Statement {
    let options = format!("HighlightAll=true, StartSel=\"{START}\", StopSel=\"{STOP}\"");
    let values: [Value; 6] = [
        owner.as_str().into(),
        lexeme('=', owner.as_str()).into(),
        words.as_str().into(),
        to_mark(words.as_str()).into(),
        options.into(),
        limit.into(),
    ];
    Statement::from_sql_and_values(DbBackend::Postgres, POSTGRES, values)
}

/// The single words that a question asks for, each once, in the syntax of `websearch_to_tsquery`.
fn to_mark(text: &str) -> String {
    let mut words = Vec::new();
    for term in terms(text) {
        let Term::With(quoted) = term else { continue };
        for word in quoted.split(|it: char| !it.is_alphanumeric()) {
            let known = words.iter().any(|it| it == word);
            if !(word.is_empty() || known || word.eq_ignore_ascii_case("or")) {
                words.push(word.to_owned());
            }
        }
    }
    words.join(" or ")
}

/// One lexeme of ours in the syntax of `tsquery`, quoted.
fn lexeme(kind: char, text: &str) -> String {
    format!("'{kind}{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

const SQLITE: &str = "
SELECT notes.id, notes.title, notes.tags, notes.created_at, notes.updated_at,
    highlight(notes_search, 2, char(2), char(3)) AS marked
FROM notes_search JOIN notes ON notes.row = notes_search.rowid
WHERE notes_search MATCH ? AND notes.owner_sub = ?
ORDER BY bm25(notes_search, 10.0, 5.0, 1.0), notes.created_at DESC, notes.id DESC
LIMIT ?";

/// FTS5 has no question that only excludes.
const SQLITE_WITHOUT: &str = "
SELECT id, title, tags, created_at, updated_at, substr(body, 1, 201) AS marked
FROM notes
WHERE row NOT IN (SELECT rowid FROM notes_search WHERE notes_search MATCH ?) AND owner_sub = ?
ORDER BY created_at DESC, id DESC
LIMIT ?";

fn sqlite(owner: &UserId, words: &Words, limit: i64) -> Option<Statement> {
    let (sql, question) = match fts5(words.as_str()) {
        Fts5::Nothing => return None,
        Fts5::With(question) => (SQLITE, question),
        Fts5::Without(question) => (SQLITE_WITHOUT, question),
    };
    let values: [Value; 3] = [question.into(), owner.as_str().into(), limit.into()];
    Some(Statement::from_sql_and_values(DbBackend::Sqlite, sql, values))
}

/// A question in the syntax of FTS5.
#[derive(Debug, PartialEq, Eq)]
enum Fts5 {
    /// There is no word in it.
    Nothing,
    /// What has to match.
    With(String),
    /// What must not match; there is nothing that has to.
    Without(String),
}

/// Says in FTS5 what `websearch_to_tsquery` makes of the same text. Whatever a person wrote ends up
/// between quotation marks, where FTS5 knows no syntax.
fn fts5(text: &str) -> Fts5 {
    let mut alternatives = vec![Alternative::default()];
    for term in terms(text) {
        match term {
            Term::Or => alternatives.push(Alternative::default()),
            Term::With(quoted) => alternatives.last_mut().expect("one at least").with.push(quoted),
            Term::Without(quoted) => {
                alternatives.last_mut().expect("one at least").without.push(quoted);
            }
        }
    }
    let wanted: Vec<String> = alternatives.iter().filter_map(Alternative::to_fts5).collect();
    if !wanted.is_empty() {
        return Fts5::With(wanted.join(" OR "));
    }
    // All that remains is to exclude. Several exclusions with OR between them exclude only what
    // has all of them; FTS5 and people rarely meet there, so each of them counts.
    let unwanted: Vec<String> = alternatives.into_iter().flat_map(|it| it.without).collect();
    if unwanted.is_empty() { Fts5::Nothing } else { Fts5::Without(unwanted.join(" OR ")) }
}

/// What stands between two ORs.
#[derive(Default)]
struct Alternative {
    with: Vec<String>,
    without: Vec<String>,
}

impl Alternative {
    fn to_fts5(&self) -> Option<String> {
        let mut question = (!self.with.is_empty()).then(|| self.with.join(" AND "))?;
        for unwanted in &self.without {
            question = format!("({question}) NOT {unwanted}");
        }
        Some(format!("({question})"))
    }
}

enum Term {
    With(String),
    Without(String),
    Or,
}

fn terms(text: &str) -> impl Iterator<Item = Term> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            rest = rest.trim_start();
            if rest.is_empty() {
                return None;
            }
            let unwanted = rest.starts_with('-');
            let from = rest.trim_start_matches('-');
            let quoted = from.strip_prefix('"');
            let (word, after) = if let Some(phrase) = quoted {
                phrase.split_once('"').unwrap_or((phrase, ""))
            } else {
                let end = from.find(|it: char| it.is_whitespace() || it == '"');
                from.split_at(end.unwrap_or(from.len()))
            };
            rest = after;
            if quoted.is_none() && !unwanted && word.eq_ignore_ascii_case("or") {
                return Some(Term::Or);
            }
            // What holds no letter or digit is no word.
            if word.chars().any(char::is_alphanumeric) {
                let word = format!("\"{}\"", word.replace('"', ""));
                return Some(if unwanted { Term::Without(word) } else { Term::With(word) });
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_become_fts5() {
        let with = |it: &str| Fts5::With(it.to_owned());
        for (text, question) in [
            ("tea", with(r#"("tea")"#)),
            ("green tea", with(r#"("green" AND "tea")"#)),
            (r#""green tea" cake"#, with(r#"("green tea" AND "cake")"#)),
            ("tea or coffee", with(r#"("tea") OR ("coffee")"#)),
            ("tea -coffee", with(r#"(("tea") NOT "coffee")"#)),
            ("tea OR coffee -milk", with(r#"("tea") OR (("coffee") NOT "milk")"#)),
            ("-milk", Fts5::Without(r#""milk""#.to_owned())),
            (r#"-"cold milk" -tea"#, Fts5::Without(r#""cold milk" OR "tea""#.to_owned())),
            (
                "NEAR(a b) title:x* ^y {z}",
                with(r#"("NEAR(a" AND "b)" AND "title:x*" AND "^y" AND "{z}")"#),
            ),
            (r#"unclosed "phrase here"#, with(r#"("unclosed" AND "phrase here")"#)),
            (r#"a"b"c"#, with(r#"("a" AND "b" AND "c")"#)),
            (r#"" - -- *** ""#, Fts5::Nothing),
            ("or", Fts5::Nothing),
        ] {
            assert_eq!(fts5(text), question, "{text}");
        }
    }

    #[test]
    fn single_words_are_marked_each_once() {
        for (text, marked) in [
            ("tea", "tea"),
            ("\"green tea\" or Cake -milk tea", "green or tea or Cake"),
            ("user@example.com foo-bar", "user or example or com or foo or bar"),
            ("\"this or that\" a|b!c:*", "this or that or a or b or c"),
            ("-milk … \"\"", ""),
        ] {
            assert_eq!(to_mark(text), marked, "{text}");
        }
    }

    #[test]
    fn a_lexeme_is_quoted() {
        assert_eq!(lexeme('=', "github:1"), "'=github:1'");
        assert_eq!(lexeme('#', r"it's a \ & b"), r"'#it''s a \\ & b'");
    }
}
