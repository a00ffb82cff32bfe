//! Fills the tables of notes.
//!
//! The service itself creates some thousand notes. Each row is one of them with another owner, id and time, and
//! with a word of its own at its end. What changes in the column `search` is changed in SQL; [`check`] indexes a
//! sample again with the code of the service and compares.

use anyhow::{Context as _, ensure};
use app::App;
use mcp::UserId;
use notes::store::{self, Body, Draft, Tag, Tags, Title, index};
use sea_orm::{ConnectionTrait as _, DatabaseConnection, DbBackend, DbErr, Statement, Value};
use tokio::task::JoinSet;

use super::{LARGE_NOTES, Size, patient, texts};

/// Notes that the service creates.
const TEXTS: u64 = 20_000;

/// Connections that insert rows.
const WRITERS: u64 = 2;

/// Rows per statement.
const CHUNK: u64 = 100_000;

/// Rows whose index is compared with that of the service.
const SAMPLE: usize = 500;

/// The time over which the notes were created.
const YEARS: u64 = 3;

/// Fills the tables, unless they have notes.
pub(super) async fn fill(app: &App, url: &str, size: Size) -> anyhow::Result<()> {
    let db = patient(url).await?;
    if is_filled(&db, "notes").await? {
        return Ok(());
    }
    texts(app, &db).await?;
    let indexes = drop_indexes(&db).await?;
    db.execute_unprepared("ALTER TABLE notes DISABLE TRIGGER USER").await?;
    rows(url, size).await?;
    create_indexes(url, indexes).await?;
    db.execute_unprepared(
        "INSERT INTO note_usage (owner_sub, notes, bytes)
        SELECT owner_sub, count(*), sum(note_bytes(title, tags, body)) FROM notes GROUP BY owner_sub;
        ALTER TABLE notes ENABLE TRIGGER USER;
        DROP TABLE bench_texts",
    )
    .await?;
    db.execute_unprepared("VACUUM ANALYZE notes").await?;
    db.execute_unprepared("VACUUM ANALYZE note_usage").await?;
    check(app, &db).await
}

/// Returns whether a table has rows.
pub(super) async fn is_filled(db: &DatabaseConnection, table: &str) -> anyhow::Result<bool> {
    Ok(count(db, &format!("SELECT count(*) FROM (SELECT FROM {table} LIMIT 1) AS found")).await?
        > 0)
}

/// Creates the texts with the code of the service, and moves them to a table of their own.
async fn texts(app: &App, db: &DatabaseConnection) -> anyhow::Result<()> {
    let owner = UserId::new("bench:texts");
    let state: &notes::State = app.state();
    let mut creating = JoinSet::new();
    for writer in 0..WRITERS {
        let (state, owner) = (state.clone(), owner.clone());
        creating.spawn(async move {
            for number in (0..TEXTS).filter(|number| number % WRITERS == writer) {
                let text = texts::text(number);
                let tags: Result<Vec<Tag>, _> =
                    text.tags.iter().map(|tag| Tag::parse(tag)).collect();
                let draft = Draft {
                    title: Title::parse(&text.title)?,
                    body: Body::parse(&text.body)?,
                    tags: Tags::parse(tags?)?,
                };
                store::create(&state, &owner, draft).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(created) = creating.join_next().await {
        created??;
    }
    db.execute_unprepared(
        "CREATE TABLE bench_texts AS
        SELECT row_number() OVER (ORDER BY id) - 1 AS number, title, body, tags,
            ts_delete(search, '=' || owner_sub) AS search, search_version
        FROM notes;
        CREATE UNIQUE INDEX ON bench_texts (number);
        TRUNCATE notes, note_usage;
        ANALYZE bench_texts",
    )
    .await?;
    Ok(())
}

/// Drops the indexes of `notes`, and returns the statements that create them, with their own definitions.
async fn drop_indexes(db: &DatabaseConnection) -> anyhow::Result<Vec<String>> {
    let sql = "SELECT indexrelid::regclass::text AS name, conname::text AS constraint_name,
            coalesce('ALTER TABLE notes ADD CONSTRAINT ' || quote_ident(conname) || ' '
                || pg_get_constraintdef(pg_constraint.oid), pg_get_indexdef(indexrelid)) AS definition
        FROM pg_index LEFT JOIN pg_constraint ON conindid = indexrelid
        WHERE indrelid = 'notes'::regclass";
    let mut definitions = Vec::new();
    for row in db.query_all_raw(plain(sql)).await? {
        let name: String = row.try_get("", "name")?;
        let constraint: Option<String> = row.try_get("", "constraint_name")?;
        let drop = match constraint {
            Some(constraint) => format!("ALTER TABLE notes DROP CONSTRAINT {constraint}"),
            None => format!("DROP INDEX {name}"),
        };
        db.execute_unprepared(&drop).await?;
        definitions.push(row.try_get("", "definition")?);
    }
    Ok(definitions)
}

/// Creates the indexes, the one of words beside the others: it takes longer than all of them together.
async fn create_indexes(url: &str, definitions: Vec<String>) -> anyhow::Result<()> {
    let (words, others): (Vec<_>, Vec<_>) =
        definitions.into_iter().partition(|definition| definition.contains("USING gin"));
    // A constraint locks the table exclusively, so it comes before the index of words.
    let (constraints, others): (Vec<_>, Vec<_>) =
        others.into_iter().partition(|definition| definition.starts_with("ALTER"));
    create(url.to_owned(), constraints).await?;
    let mut creating = JoinSet::new();
    creating.spawn(create(url.to_owned(), words));
    creating.spawn(create(url.to_owned(), others));
    while let Some(created) = creating.join_next().await {
        created??;
    }
    Ok(())
}

async fn create(url: String, definitions: Vec<String>) -> anyhow::Result<()> {
    let db = patient(&url).await?;
    for definition in definitions {
        db.execute_unprepared(&definition).await?;
    }
    Ok(())
}

/// Inserts the rows in the order of their times, so that the notes of a person are in as many pages of the table
/// as in a service with many people.
async fn rows(url: &str, size: Size) -> anyhow::Result<()> {
    let mut writing = JoinSet::new();
    for writer in 0..WRITERS {
        let url = url.to_owned();
        writing.spawn(async move {
            let db = patient(&url).await?;
            let mut first = writer * CHUNK;
            while first < size.notes {
                let last = size.notes.min(first + CHUNK) - 1;
                db.execute_raw(insert(first, last, size)).await?;
                first += WRITERS * CHUNK;
            }
            anyhow::Ok(())
        });
    }
    while let Some(written) = writing.join_next().await {
        written??;
    }
    Ok(())
}

/// The position of the last word of a note is the largest in its index, and `||` adds it to the position of the
/// appended word. The id is a UUID of version 7 with the time of the note.
fn insert(first: u64, last: u64, size: Size) -> Statement {
    let sql = "INSERT INTO notes
            (id, owner_sub, title, body, tags, created_at, updated_at, search, search_version)
        SELECT (lpad(to_hex((extract(epoch FROM created) * 1000)::bigint), 12, '0') || '7'
                || substr(md5(n::text), 1, 3) || '8' || substr(md5(n::text), 4, 15))::uuid,
            owner, title, body || ' n' || n || 'x', tags, created, created,
            search || ('''n' || n || 'x'':1')::tsvector || array_to_tsvector(ARRAY['=' || owner]),
            search_version
        FROM (
            SELECT n, now() - ($3 - n) * $4 / $3 * interval '1 second' AS created,
                CASE WHEN n % $5 = 0 THEN 'dev:large'
                    ELSE 'dev:p' || (hashint8(n)::bigint + 2147483648) % $6 END AS owner,
                (hashint8(n + $3)::bigint + 2147483648) % $7 AS text
            FROM generate_series($1::bigint, $2::bigint) AS n
        ) AS generated JOIN bench_texts ON number = text
        ORDER BY n";
    let seconds = YEARS * 365 * 24 * 3600;
    let every = (size.notes / LARGE_NOTES).max(1);
    let values = [first, last, size.notes, seconds, every, size.people - 1, TEXTS];
    let values = values.map(|value| Value::from(i64::try_from(value).unwrap_or(i64::MAX)));
    Statement::from_sql_and_values(DbBackend::Postgres, sql, values)
}

/// Checks that the generated indexes are those of the service.
async fn check(app: &App, db: &DatabaseConnection) -> anyhow::Result<()> {
    let sample = format!(
        "CREATE TEMP TABLE bench_sample AS SELECT id, search FROM notes TABLESAMPLE SYSTEM (1) LIMIT {SAMPLE};
        UPDATE notes SET search_version = 0 WHERE id IN (SELECT id FROM bench_sample)"
    );
    db.execute_unprepared(&sample).await?;
    while index::refresh(app.state()).await? > 0 {}
    let sql = "SELECT count(*) FROM bench_sample JOIN notes USING (id)
        WHERE notes.search = bench_sample.search";
    let equal = count(db, sql).await?;
    let all = count(db, "SELECT count(*) FROM bench_sample").await?;
    ensure!(equal == all, "only {equal} of {all} notes have the index of the service");
    println!("{equal} generated notes have the index that the service computes");
    Ok(())
}

pub(super) async fn print_sizes(db: &DatabaseConnection, size: Size) -> anyhow::Result<()> {
    let sql = "SELECT relname::text AS name, pg_table_size(pg_class.oid) AS bytes, 1 AS place
        FROM pg_class WHERE oid IN ('notes'::regclass, 'note_usage'::regclass)
        UNION ALL SELECT indexrelid::regclass::text, pg_relation_size(indexrelid), 2
        FROM pg_index WHERE indrelid IN ('notes'::regclass, 'note_usage'::regclass)
        ORDER BY place, bytes DESC";
    println!("| | MB | bytes per note |\n|---|---|---|");
    for row in db.query_all_raw(plain(sql)).await? {
        let (name, bytes): (String, i64) = (row.try_get("", "name")?, row.try_get("", "bytes")?);
        let per_note = bytes / i64::try_from(size.notes)?.max(1);
        println!("| `{name}` | {} | {per_note} |", bytes / 1_000_000);
    }
    println!();
    Ok(())
}

fn plain(sql: &str) -> Statement {
    Statement::from_string(DbBackend::Postgres, sql)
}

async fn count(db: &DatabaseConnection, sql: &str) -> anyhow::Result<i64> {
    let row = db.query_one_raw(plain(sql)).await?;
    let count: Result<i64, DbErr> = row.context("a count has a row")?.try_get_by_index(0);
    Ok(count?)
}
