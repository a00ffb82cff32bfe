//! The search index: the words of [`crate::words`] of each note, with the field and position of
//! each.
//!
//! **Postgres** stores a ready-made `tsvector` in the column `search`; its own parser and
//! dictionaries are not used. Besides the words it contains the owner as `=<owner>` and each tag as
//! `#<tag>`, so that one index answers owner, tag and words together. No word begins with these
//! characters. Postgres limits the number of positions. A note that exceeds the limit has the
//! lexeme [`INCOMPLETE`], and whether it matches a phrase is decided by
//! [`super::query::Query::matches`].
//!
//! **SQLite** receives the words of each field as JSON in the column `search`; a trigger moves them
//! to the FTS5 table `notes_words`.
//!
//! The column `search_version` has the version of the rules by which a row was indexed. Instances
//! of an earlier version of the service leave a number below 1; [`refresh`] indexes these rows
//! again.

use std::{collections::HashMap, mem, ops::ControlFlow};

use mcp::UserId;
use platform::db::Failure;
use sea_orm::{
    ConnectionTrait, DbBackend, FromQueryResult, Statement, Value,
    sea_query::{Alias, DynIden, Expr, InsertStatement, IntoIden as _, Query, SimpleExpr},
};

use super::{NotesError, quota::Amount};
use crate::{
    State,
    entity::{Column, Entity, Model, TagList},
    note_id::NoteId,
    words,
};

/// The size of the texts, in bytes, after which a batch ends, so that its statement stays within
/// the time limit.
pub(super) const BATCH_BYTES: usize = 1024 * 1024;

/// The version of the rules of [`crate::words`]. When it changes, a migration must recreate the
/// index `notes_unindexed` so that it covers all rows below the new version.
pub(super) const VERSION: i32 = 1;

/// The maximum number of rows that one call of [`refresh`] indexes: at most 40 MB of text.
pub const REFRESH_BATCH: u64 = 100;

/// The lexeme in the vector of a note whose positions are incomplete.
pub(super) const INCOMPLETE: &str = "~";

/// The last position that Postgres stores (`MAXENTRYPOS`).
const LAST_POSITION: usize = 16_383;

/// The maximum number of positions per word that Postgres stores (`MAXNUMPOS`).
const MAX_POSITIONS_PER_WORD: usize = 255;

/// The maximum size of words and positions in bytes (`MAXSTRPOS`), minus a margin for alignment.
const MAX_VECTOR_BYTES: usize = 1_000_000;

/// Separates tags on SQLite, so that no phrase matches across two tags. It is not a letter, so not
/// a word.
const TAG_SEPARATOR: &str = " \u{80} ";

/// The column with the search index, known only to this module, [`mod@super::search`] and the
/// statements that write.
pub(super) fn search_column() -> DynIden {
    Alias::new("search").into_iden()
}

/// The column with the version of the index.
pub(super) fn version_column() -> DynIden {
    Alias::new("search_version").into_iden()
}

/// Builds the statement that inserts notes together with their search index.
pub(super) fn insert(backend: DbBackend, rows: impl IntoIterator<Item = Model>) -> InsertStatement {
    let columns = [
        Column::Id,
        Column::OwnerSub,
        Column::Title,
        Column::Body,
        Column::Tags,
        Column::CreatedAt,
        Column::UpdatedAt,
    ];
    let columns = columns.into_iter().map(sea_orm::sea_query::IntoIden::into_iden);
    let mut insert = Query::insert();
    insert.into_table(Entity).columns(columns.chain([search_column(), version_column()]));
    for row in rows {
        let search = search_value(backend, &row);
        let values: [Value; 7] = [
            row.id.into(),
            row.owner_sub.into(),
            row.title.into(),
            row.body.into(),
            row.tags.into(),
            row.created_at.into(),
            row.updated_at.into(),
        ];
        let values = values.into_iter().map(Expr::value);
        insert.values_panic(values.chain([search, Expr::value(VERSION)]));
    }
    insert
}

/// Builds the statement that inserts a note on Postgres if the user has a row in `note_usage` and the
/// note fits into the quota; otherwise it writes nothing. Executing it twice writes the note once.
///
/// The row in `note_usage` is locked first, so concurrent statements of one user take turns, as with
/// the trigger that maintains it. Waiting for it is limited as in a transaction of
/// [`platform::db::begin`].
pub(super) fn insert_within(row: &Model, quota: Amount) -> Statement {
    const SQL: &str = "WITH bounds AS MATERIALIZED (
            SELECT set_config('lock_timeout', '1s', true)
        ), used AS MATERIALIZED (
            SELECT note_usage.notes, note_usage.bytes FROM bounds, note_usage
            WHERE owner_sub = $2 FOR UPDATE OF note_usage
        )
        INSERT INTO notes
            (id, owner_sub, title, body, tags, created_at, updated_at, search, search_version)
        SELECT $1, $2, $3, $4, $5, $6, $7, $8::tsvector, $9 FROM used
        WHERE used.notes < $10 AND used.bytes + note_bytes($3, $5, $4) <= $11
        ON CONFLICT (id) DO NOTHING";
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let search = vector(&row.owner_sub, &row.title, &row.tags.0, &row.body);
    let values: [Value; 11] = [
        row.id.into(),
        row.owner_sub.as_str().into(),
        row.title.as_str().into(),
        row.body.as_str().into(),
        row.tags.clone().into(),
        row.created_at.into(),
        row.updated_at.into(),
        search.into(),
        VERSION.into(),
        number(quota.notes).into(),
        number(quota.bytes).into(),
    ];
    Statement::from_sql_and_values(DbBackend::Postgres, SQL, values)
}

/// Returns the value of the column `search` for a note.
pub(super) fn search_value(backend: DbBackend, note: &Model) -> SimpleExpr {
    let search = index_text(backend, &note.owner_sub, &note.title, &note.tags.0, &note.body);
    if backend == DbBackend::Postgres {
        Expr::cust_with_values("$1::tsvector", [search])
    } else {
        Expr::value(search)
    }
}

fn index_text(backend: DbBackend, owner: &str, title: &str, tags: &[String], body: &str) -> String {
    if backend == DbBackend::Postgres {
        vector(owner, title, tags, body)
    } else {
        let tags: Vec<String> = tags.iter().map(|tag| lexemes(tag)).collect();
        let fields = [lexemes(title), tags.join(TAG_SEPARATOR), lexemes(body)];
        serde_json::Value::from(fields.to_vec()).to_string()
    }
}

/// Returns the lexemes of a text, separated by spaces.
fn lexemes(text: &str) -> String {
    let mut lexemes = String::with_capacity(text.len());
    let _ended = words::for_each_word(text, |word| {
        if !lexemes.is_empty() {
            lexemes.push(' ');
        }
        lexemes.push_str(word.lexeme);
        ControlFlow::Continue(())
    });
    lexemes
}

/// Quotes a lexeme with a prefix in the syntax of `tsvector` and `tsquery`.
pub(super) fn lexeme(prefix: &str, text: &str) -> String {
    format!("'{prefix}{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// The weight of a word in the ranking, with the defaults of `ts_rank`: 1, 0.4 and 0.1.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Weight {
    Title,
    Tag,
    Body,
}

/// The positions of one word in a note.
#[derive(Default)]
struct Positions {
    /// The positions that fit into the vector.
    positions: Vec<(usize, Weight)>,
    /// The number of all positions.
    total: usize,
}

fn vector(owner: &str, title: &str, tags: &[String], body: &str) -> String {
    let mut vector = Vector::default();
    vector.add(title, Weight::Title);
    for tag in tags {
        vector.add(tag, Weight::Tag);
    }
    vector.add(body, Weight::Body);
    let mut text = lexeme("=", owner);
    for tag in tags {
        text.push(' ');
        text.push_str(&lexeme("#", tag));
    }
    vector.write(&mut text);
    text
}

/// Builds a `tsvector`.
#[derive(Default)]
struct Vector {
    words: HashMap<String, Positions>,
    position: usize,
}

impl Vector {
    fn add(&mut self, text: &str, weight: Weight) {
        let _ended = words::for_each_word(text, |word| {
            self.position += 1;
            let positions = self.words.entry(word.lexeme.to_owned()).or_default();
            positions.total += 1;
            if positions.positions.len() < MAX_POSITIONS_PER_WORD && self.position <= LAST_POSITION
            {
                positions.positions.push((self.position, weight));
            }
            ControlFlow::Continue(())
        });
        // No phrase matches across two fields.
        self.position += 1;
    }

    fn write(&self, out: &mut String) {
        let bytes: usize =
            self.words.iter().map(|(word, positions)| word.len() + positions.bytes()).sum();
        let is_large = bytes > MAX_VECTOR_BYTES;
        if is_large || self.words.values().any(|positions| !positions.is_complete()) {
            out.push_str(" '");
            out.push_str(INCOMPLETE);
            out.push('\'');
        }
        for (word, positions) in &self.words {
            out.push_str(" '");
            out.push_str(word);
            out.push('\'');
            positions.write(is_large, out);
        }
    }
}

impl Positions {
    fn is_complete(&self) -> bool {
        self.positions.len() == self.total
    }

    fn bytes(&self) -> usize {
        // A counter, two bytes for each position, and alignment.
        4 + 2 * self.positions.len()
    }

    fn write(&self, is_large: bool, out: &mut String) {
        let mut digits = itoa::Buffer::new();
        let mut sign = ':';
        for (position, weight) in &self.positions {
            let letter = match weight {
                Weight::Title => "A",
                Weight::Tag => "B",
                Weight::Body if is_large => continue,
                Weight::Body => "",
            };
            out.push(sign);
            out.push_str(digits.format(*position));
            out.push_str(letter);
            sign = ',';
        }
    }
}

/// A row with an index of an earlier version.
#[derive(FromQueryResult)]
struct OutdatedRow {
    id: NoteId,
    owner_sub: String,
    title: String,
    body: String,
    tags: TagList,
    search_version: i32,
}

/// Indexes up to [`REFRESH_BATCH`] notes that have no index of this version, and returns how many
/// it found. Called by the schedule of the worker.
pub async fn refresh(state: &State) -> Result<u64, Failure> {
    refresh_rows(state.db(), None).await
}

/// Indexes notes of one user like [`refresh`], so that a search finds them immediately.
pub(super) async fn refresh_owned(
    db: &impl ConnectionTrait,
    owner: &UserId,
) -> Result<u64, NotesError> {
    Ok(refresh_rows(db, Some(owner)).await?)
}

async fn refresh_rows(db: &impl ConnectionTrait, owner: Option<&UserId>) -> Result<u64, Failure> {
    let backend = db.get_database_backend();
    let condition = if owner.is_some() { "owner_sub = $1 AND" } else { "" };
    // The version is part of the SQL text, so that the partial index is used.
    let sql = format!(
        "SELECT id, owner_sub, title, body, tags, search_version
        FROM notes WHERE {condition} search_version < {VERSION}
        ORDER BY owner_sub, search_version LIMIT {REFRESH_BATCH}"
    );
    let values: Vec<Value> = owner.map(|owner| owner.as_str().into()).into_iter().collect();
    let statement = Statement::from_sql_and_values(backend, sql, values);
    let rows = OutdatedRow::find_by_statement(statement).all(db).await?;
    let count = rows.len() as u64;
    let mut batch = Vec::new();
    let mut bytes = 0;
    for row in rows {
        bytes += row.body.len();
        batch.push(row);
        if bytes >= BATCH_BYTES {
            bytes = 0;
            db.execute_raw(update(backend, mem::take(&mut batch))).await?;
        }
    }
    if !batch.is_empty() {
        db.execute_raw(update(backend, batch)).await?;
    }
    Ok(count)
}

/// Builds the statement that updates the index of these rows if they are unchanged since they were
/// read: every change by an earlier version of the service sets another `search_version`. On
/// Postgres, skips locked rows; they remain for the next call.
fn update(backend: DbBackend, rows: Vec<OutdatedRow>) -> Statement {
    /// `column1` to `column3` are the names that both databases give to the columns of `VALUES`.
    const ON_POSTGRES: &str = "UPDATE notes SET search = column3, search_version = $1
        FROM new_index WHERE notes.id IN (
            SELECT notes.id FROM notes JOIN new_index ON notes.id = column1
            WHERE notes.search_version = column2 FOR UPDATE OF notes SKIP LOCKED
        ) AND notes.id = column1";
    const ON_SQLITE: &str = "UPDATE notes SET search = column3, search_version = $1
        FROM new_index WHERE notes.id = column1 AND notes.search_version = column2";
    let postgres = backend == DbBackend::Postgres;
    let mut values: Vec<Value> = vec![VERSION.into()];
    let mut tuples = Vec::with_capacity(rows.len());
    for row in rows {
        let search = index_text(backend, &row.owner_sub, &row.title, &row.tags.0, &row.body);
        let parameter = values.len() + 1;
        let cast = if postgres { "::tsvector" } else { "" };
        tuples.push(format!("(${parameter}, ${}, ${}{cast})", parameter + 1, parameter + 2));
        values.extend([row.id.into(), row.search_version.into(), search.into()]);
    }
    let update = if postgres { ON_POSTGRES } else { ON_SQLITE };
    let sql = format!("WITH new_index AS (VALUES {}) {update}", tuples.join(", "));
    Statement::from_sql_and_values(backend, sql, values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lexeme_is_quoted() {
        assert_eq!(lexeme("=", "github:1"), "'=github:1'");
        assert_eq!(lexeme("#", r"it's a \ & b"), r"'#it''s a \\ & b'");
    }

    /// The parts of a vector in a fixed order; the map has none.
    fn sorted(vector: &str) -> Vec<&str> {
        let mut words: Vec<&str> = vector.split(' ').collect();
        words.sort_unstable();
        words
    }

    #[test]
    fn a_vector_contains_owner_tags_and_words() {
        let text = vector("dev:ada", "Green teas", &["Drinks".to_owned()], "tea, 茶");
        let expected =
            ["'#Drinks'", "'=dev:ada'", "'drink':4B", "'green':1A", "'tea':2A,6", "'茶':7"];
        assert_eq!(sorted(&text), expected);
    }

    #[test]
    fn a_vector_stays_within_the_limits_of_postgres() {
        let words = |count: u32| {
            (0..count).map(|number| format!("w{number}")).collect::<Vec<_>>().join(" ")
        };
        assert!(!vector("o", "", &[], &words(16_000)).contains("'~'"));
        let long = vector("o", "", &[], &words(17_000));
        assert!(long.contains("'~'") && long.contains("'w16999'"));
        assert!(vector("o", "", &[], &"a ".repeat(256)).contains("'~'"));

        let characters: String = ('\u{20000}'..).take(100_000).collect();
        let large = vector("o", "title", &[], &characters);
        assert!(large.contains("'~'") && large.contains("'titl':1A"));
    }

    #[test]
    fn sqlite_gets_the_words_of_each_field() {
        let tags = ["a b".to_owned(), "c".to_owned()];
        let json = index_text(DbBackend::Sqlite, "dev:ada", "Green teas", &tags, "数据库");
        assert_eq!(json, "[\"green tea\",\"a b \u{80} c\",\"数据 据库 库\"]");
    }
}
