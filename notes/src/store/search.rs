//! Full-text search. Both databases evaluate the same query over the same words; only the syntax of
//! their indexes differs ([`mod@super::index`]). The migration `m20261122_000002_notes` explains
//! why the Postgres index contains the owner and the tags.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use mcp::UserId;
use platform::db::{OneSearch, is_statement_timeout};
use schemars::JsonSchema;
use sea_orm::{
    ConnectionTrait, DbBackend, FromQueryResult, Statement, Value,
    sea_query::{Expr, SimpleExpr},
};
use serde::Serialize;

use super::{
    NotesError, PageSize, SearchQuery, Tag,
    index::{self, INCOMPLETE, lexeme},
    passages::passages,
    query::{Alternative, Phrase, Query},
    text::MAX_PAGE,
};
use crate::{State, entity::TagList, note_id::NoteId};

/// The maximum number of pages of candidates that a search reads. More than one page is needed only
/// for phrases in notes of thousands of words: whether these match is decided outside the database.
const MAX_ROUNDS: u64 = 10;

/// The size of the texts, in bytes, after which a search returns what it has found so far. A page
/// of the longest notes is larger; a page is always read to its end.
const MAX_TEXT_BYTES: usize = 8 * 1024 * 1024;

/// The maximum number of matches that a search on Postgres ranks, the newest ones: as many as
/// [`MAX_ROUNDS`] pages of the largest size have, with the additional note of each. Ranking all
/// matches of a frequent word in 10,000 notes took 70 ms.
const MAX_CANDIDATES: u64 = MAX_ROUNDS * (MAX_PAGE as u64 + 1);

/// The size of the index entries, in bytes as stored by Postgres, that a search ranks. Further
/// candidates are returned too, but unranked: last, newest first.
const MAX_RANKED_BYTES: usize = 8 * 1024 * 1024;

/// The maximum number of words for ranking by proximity, in which Postgres compares every position
/// of a word with every position of each other word. Queries with more words are ranked by
/// frequency.
const MAX_PROXIMITY_WORDS: usize = 3;

/// The maximum number of batches of [`index::REFRESH_BATCH`] notes that a search indexes before it
/// starts, which takes a fraction of a second. The schedule of the worker indexes the rest.
const REFRESH_ROUNDS: usize = 10;

/// The result of a search.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Hits {
    /// The matching notes, best match first.
    pub notes: Vec<Hit>,
    /// Whether more notes match. If so, search with more words.
    pub more: bool,
}

/// A note that matches a search.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Hit {
    /// The id, to name the note in other calls.
    pub id: NoteId,
    /// The title.
    pub title: String,
    /// The matching passages of the text, with `**` around matching words; the beginning of the
    /// text if only the title or a tag matches.
    pub snippet: String,
    /// The tags.
    pub tags: Vec<String>,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

/// Searches like [`search`], after indexing notes of the user that an earlier version of the
/// service wrote. Runs one search per user at a time in this process and, on Postgres, in all
/// processes; others wait. Fails with [`NotesError::TooCostly`] when the database exceeds the time
/// limit.
pub async fn find(
    state: &State,
    owner: &UserId,
    words: &SearchQuery,
    limit: PageSize,
) -> Result<Hits, NotesError> {
    let db = state.db_for(owner);
    let _permit = db.search_permit().await?;
    for _ in 0..REFRESH_ROUNDS {
        match index::refresh_owned(&db, owner).await {
            Ok(index::REFRESH_BATCH..) => {}
            Ok(_) => break,
            Err(error) => {
                tracing::warn!(?error, "Could not index outdated notes; searching without them");
                break;
            }
        }
    }
    search(&OneSearch::new(db, owner.as_str()), owner, words, limit).await
}

/// Searches the notes of a user, best match first, then newest first.
pub async fn search(
    db: &impl ConnectionTrait,
    owner: &UserId,
    words: &SearchQuery,
    limit: PageSize,
) -> Result<Hits, NotesError> {
    let query = Query::parse(words.as_str());
    if query.is_empty() {
        return Ok(Hits { notes: Vec::new(), more: false });
    }
    let limit = usize::from(limit.get());
    // One additional note tells whether there are more.
    let fetched = limit as u64 + 1;
    let mut notes = Vec::new();
    let mut more = true;
    let mut read = 0;
    for round in 0..MAX_ROUNDS {
        let statement = statement(db.get_database_backend(), owner, &query, fetched, round);
        let found = HitRow::find_by_statement(statement).all(db).await;
        let rows = found.map_err(|error| match error {
            error if is_statement_timeout(&error) => NotesError::TooCostly,
            error => error.into(),
        })?;
        let is_last = (rows.len() as u64) < fetched;
        for row in rows {
            read += row.body.len();
            if !row.incomplete || row.matches(&query) {
                notes.push(row.into_hit(&query));
            }
            // A long text takes milliseconds: yield to other tasks.
            tokio::task::yield_now().await;
        }
        if is_last || notes.len() > limit {
            more = notes.len() > limit;
            break;
        }
        if read > MAX_TEXT_BYTES {
            break;
        }
    }
    notes.truncate(limit);
    Ok(Hits { notes, more })
}

/// Returns the condition that a note of this owner has a tag.
pub(super) fn has_tag(backend: DbBackend, owner: &UserId, tag: &Tag) -> SimpleExpr {
    if backend == DbBackend::Postgres {
        let both = format!("{} & {}", lexeme("=", owner.as_str()), lexeme("#", tag.as_str()));
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
    body: String,
    tags: TagList,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    /// Whether the database lacks word positions, so that phrases must be checked here.
    incomplete: bool,
}

impl HitRow {
    fn matches(&self, query: &Query) -> bool {
        let tags = self.tags.0.iter().map(String::as_str);
        query.matches([self.title.as_str(), self.body.as_str()].into_iter().chain(tags))
    }

    fn into_hit(self, query: &Query) -> Hit {
        Hit {
            id: self.id,
            snippet: passages(&self.body, query),
            title: self.title,
            tags: self.tags.0,
            created_at: self.created_at,
            updated_at: self.updated_at,
        }
    }
}

pub(super) fn statement(
    backend: DbBackend,
    owner: &UserId,
    query: &Query,
    limit: u64,
    round: u64,
) -> Statement {
    let mut statement = match backend {
        DbBackend::Postgres => postgres(owner, query),
        _ => sqlite(owner, query),
    };
    // Only numbers are inserted, so no SQL injection is possible.
    statement.sql =
        statement.sql.replace("{page}", &format!("LIMIT {limit} OFFSET {}", limit * round));
    statement
}

/// Ranks and limits the rows first, so that only the texts of the returned notes are read. Notes are
/// joined by `ctid`, which is stable within a statement and takes one page instead of four.
///
/// The condition on the owner is in a form that no index serves: the index of words already contains
/// the owner, and the planner would otherwise read another index for it, too. So is the filter
/// ([`FILTER`]).
const POSTGRES: &str = "
SELECT notes.id, title, body, tags, notes.created_at, updated_at,
    notes.search @@ $4::tsquery AS incomplete
FROM (
    SELECT place, id, created_at,
        CASE WHEN bytes <= {ranked} THEN ts_rank(search, $3::tsquery) ELSE 0 END AS rank
    FROM (
        SELECT place, id, created_at, search, sum(pg_column_size(search)) OVER (
            ORDER BY created_at DESC, id DESC ROWS UNBOUNDED PRECEDING) AS bytes
        FROM (
            SELECT ctid AS place, id, created_at, search FROM notes
            WHERE (owner_sub = $1) IS TRUE AND search @@ $2::tsquery {filter}
            ORDER BY created_at DESC, id DESC LIMIT {candidates}
        ) AS newest
    ) AS found
    ORDER BY rank DESC, created_at DESC, id DESC
    {page}
) AS best JOIN notes ON notes.ctid = best.place
ORDER BY rank DESC, notes.created_at DESC, notes.id DESC";

/// The complete condition of a query with prefixes. For a prefix, the index would read the entries of
/// all users' words that begin with it: 100 ms in ten million notes. Therefore the index is only asked
/// for the owner and for the other words, and the prefix is compared in the notes that it returns.
const FILTER: &str = "AND (search @@ $5::tsquery) IS TRUE";

fn postgres(owner: &UserId, query: &Query) -> Statement {
    let words = tsquery(query, PhraseMatch::Exact);
    let incomplete = lexeme("", INCOMPLETE);
    let owner_term = lexeme("=", owner.as_str());
    let condition = if query.has_phrases() {
        let candidates = tsquery(query, PhraseMatch::Candidates);
        format!("{owner_term} & (({words}) | ({incomplete} & ({candidates})))")
    } else {
        format!("{owner_term} & ({words})")
    };
    // Notes without complete positions need a check only if the query has phrases.
    let incomplete = if query.has_phrases() { incomplete } else { String::new() };
    let ranked = if query.words() > MAX_PROXIMITY_WORDS { any_word(query) } else { words };
    let (indexed, filter) = if query.has_prefixes() {
        let words = without_prefixes(query).map(|words| format!(" & ({words})"));
        (format!("{owner_term}{}", words.unwrap_or_default()), Some(condition))
    } else {
        (condition, None)
    };
    let mut values: Vec<Value> =
        vec![owner.as_str().into(), indexed.into(), ranked.into(), incomplete.into()];
    let sql = POSTGRES
        .replace("{filter}", if filter.is_some() { FILTER } else { "" })
        .replace("{ranked}", &MAX_RANKED_BYTES.to_string())
        .replace("{candidates}", &MAX_CANDIDATES.to_string());
    values.extend(filter.map(Value::from));
    Statement::from_sql_and_values(DbBackend::Postgres, sql, values)
}

/// Returns a query for any of the words that the query does not exclude.
fn any_word(query: &Query) -> String {
    let phrases = query.alternatives.iter().flat_map(|alternative| &alternative.required);
    let words: Vec<String> = phrases.flat_map(lexemes).collect();
    if words.is_empty() { lexeme("", INCOMPLETE) } else { words.join(" | ") }
}

/// How to translate phrases.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PhraseMatch {
    /// Words at consecutive positions.
    Exact,
    /// All words at any position: matches a superset, for notes without complete positions.
    Candidates,
}

fn tsquery(query: &Query, phrase_match: PhraseMatch) -> String {
    let translate = |alternative: &Alternative| {
        let can_exclude =
            |phrase: &&Phrase| phrase_match == PhraseMatch::Exact || phrase.words.len() == 1;
        let required =
            alternative.required.iter().map(|phrase| tsquery_phrase(phrase, phrase_match));
        let excluded = alternative.excluded.iter().filter(can_exclude);
        let excluded = excluded.map(|phrase| format!("!{}", tsquery_phrase(phrase, phrase_match)));
        let parts: Vec<String> = required.chain(excluded).collect();
        // Excludes only phrases: any note without complete positions may match.
        if parts.is_empty() { lexeme("", INCOMPLETE) } else { parts.join(" & ") }
    };
    let alternatives: Vec<String> = query.alternatives.iter().map(translate).collect();
    format!("({})", alternatives.join(") | ("))
}

/// Translates a query without its prefixes and without the order of words. The result matches at least
/// the notes that the query matches. `None`: it would match all notes.
fn without_prefixes(query: &Query) -> Option<String> {
    let whole_words = |phrase: &Phrase| {
        let count = phrase.words.len() - usize::from(phrase.is_prefix);
        phrase.words[..count].iter().map(|word| lexeme("", word)).collect::<Vec<_>>()
    };
    let translate = |alternative: &Alternative| {
        let single = |phrase: &&Phrase| phrase.words.len() == 1;
        let required = alternative.required.iter().flat_map(whole_words);
        let excluded = alternative.excluded.iter().filter(single).flat_map(whole_words);
        let parts: Vec<String> = required.chain(excluded.map(|word| format!("!{word}"))).collect();
        (!parts.is_empty()).then(|| parts.join(" & "))
    };
    let alternatives: Option<Vec<String>> = query.alternatives.iter().map(translate).collect();
    Some(format!("({})", alternatives?.join(") | (")))
}

fn tsquery_phrase(phrase: &Phrase, phrase_match: PhraseMatch) -> String {
    let operator = if phrase_match == PhraseMatch::Exact { " <-> " } else { " & " };
    format!("({})", lexemes(phrase).join(operator))
}

fn lexemes(phrase: &Phrase) -> Vec<String> {
    let mut words: Vec<String> = phrase.words.iter().map(|word| lexeme("", word)).collect();
    if let (Some(last), true) = (words.last_mut(), phrase.is_prefix) {
        last.push_str(":*");
    }
    words
}

const SQLITE: &str = "
SELECT notes.id, notes.title, notes.body, notes.tags, notes.created_at, notes.updated_at,
    false AS incomplete
FROM notes_words JOIN notes ON notes.row = notes_words.rowid
WHERE notes_words MATCH $1 AND notes.owner_sub = $2
ORDER BY bm25(notes_words, 0.0, 10.0, 5.0, 1.0), notes.created_at DESC, notes.id DESC
{page}";

/// FTS5 cannot express a query that only excludes, so an alternative that only excludes becomes a
/// separate condition. Notes that match another alternative come first.
const SQLITE_EXCLUDING: &str = "
SELECT notes.id, notes.title, notes.body, notes.tags, notes.created_at, notes.updated_at,
    false AS incomplete
FROM notes
LEFT JOIN (
    SELECT rowid AS found, bm25(notes_words, 0.0, 10.0, 5.0, 1.0) AS rank
    FROM notes_words WHERE notes_words MATCH $1
) ON found = notes.row
WHERE notes.owner_sub = $2 AND (found IS NOT NULL {excluding})
ORDER BY found IS NULL, rank, notes.created_at DESC, notes.id DESC
{page}";

/// A query that matches no note.
const NO_MATCH: &str = "\"\"";

fn sqlite(owner: &UserId, query: &Query) -> Statement {
    let (requiring, excluding): (Vec<&Alternative>, Vec<&Alternative>) =
        query.alternatives.iter().partition(|alternative| !alternative.required.is_empty());
    let owner_term =
        |condition: String| format!("owner : \"{}\" AND ({condition})", owner_token(owner));
    let condition: Vec<String> = requiring.into_iter().map(fts5).collect();
    let condition =
        if condition.is_empty() { NO_MATCH.to_owned() } else { owner_term(condition.join(" OR ")) };
    let mut values: Vec<Value> = vec![condition.into(), owner.as_str().into()];
    if excluding.is_empty() {
        return Statement::from_sql_and_values(DbBackend::Sqlite, SQLITE, values);
    }
    let mut conditions = String::new();
    for alternative in excluding {
        values.push(owner_term(any_of(&alternative.excluded)).into());
        let number = values.len();
        write!(
            conditions,
            " OR notes.row NOT IN (SELECT rowid FROM notes_words WHERE notes_words MATCH ${number})"
        )
        .expect("writing to a string cannot fail");
    }
    let sql = SQLITE_EXCLUDING.replace("{excluding}", &conditions);
    Statement::from_sql_and_values(DbBackend::Sqlite, sql, values)
}

/// Encodes the owner as one FTS5 token, like the trigger of `notes`.
fn owner_token(owner: &UserId) -> String {
    owner.as_str().bytes().fold(String::new(), |mut token, byte| {
        write!(token, "{byte:02X}").expect("writing to a string cannot fail");
        token
    })
}

fn fts5(alternative: &Alternative) -> String {
    let required: Vec<String> = alternative.required.iter().map(fts5_phrase).collect();
    let required = required.join(" AND ");
    if alternative.excluded.is_empty() {
        format!("({required})")
    } else {
        format!("(({required}) NOT ({}))", any_of(&alternative.excluded))
    }
}

fn any_of(phrases: &[Phrase]) -> String {
    phrases.iter().map(fts5_phrase).collect::<Vec<_>>().join(" OR ")
}

fn fts5_phrase(phrase: &Phrase) -> String {
    let prefix = if phrase.is_prefix { " *" } else { "" };
    format!("{{title tags body}} : \"{}\"{prefix}", phrase.words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_translated_to_tsquery() {
        for (text, exact, candidates) in [
            ("tea", "(('tea'))", "(('tea'))"),
            ("tea 茶", "(('tea') & ('茶':*))", "(('tea') & ('茶':*))"),
            ("a.b -c", "(('a' <-> 'b') & !('c'))", "(('a' & 'b') & !('c'))"),
            ("-a.b", "(!('a' <-> 'b'))", "('~')"),
            ("a or -b.c", "(('a')) | (!('b' <-> 'c'))", "(('a')) | ('~')"),
        ] {
            let query = Query::parse(text);
            assert_eq!(tsquery(&query, PhraseMatch::Exact), exact, "{text}");
            assert_eq!(tsquery(&query, PhraseMatch::Candidates), candidates, "{text}");
        }
    }

    #[test]
    fn the_index_is_not_asked_for_prefixes() {
        for (text, expected) in [
            ("茶", None),
            ("-茶", None),
            ("tea or 茶", None),
            ("tea 茶", Some("('tea')")),
            ("a.b 茶 -c -茶 -d.e", Some("('a' & 'b' & !'c')")),
            ("a茶 or b", Some("('a') | ('b')")),
        ] {
            let query = Query::parse(text);
            assert_eq!(without_prefixes(&query).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn queries_are_translated_to_fts5() {
        for (text, expected) in [
            ("tea", r#"({title tags body} : "tea")"#),
            (
                "a.b 茶 -c -d",
                r#"(({title tags body} : "a b" AND {title tags body} : "茶" *) NOT ({title tags body} : "c" OR {title tags body} : "d"))"#,
            ),
        ] {
            assert_eq!(fts5(&Query::parse(text).alternatives[0]), expected, "{text}");
        }
        assert_eq!(owner_token(&UserId::new("dev:é")), "6465763AC3A9");
    }
}
