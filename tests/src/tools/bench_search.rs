//! `bench-search` measures indexing and search in a database with one user of 10,000 notes and many
//! other users.
//!
//! `bench/search` sets `DATABASE_URL` to a migrated Postgres database, and `NOTES` to the number of all
//! notes. The functions of the service are called directly, without HTTP and MCP.

#![expect(clippy::print_stdout, reason = "the figures are what it is for")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use app::{App, config::Config};
use mcp::{Stores, UserId};
use notes::store::{self, Body, Changes, Draft, PageSize, SearchQuery, Tags, Title, index};
use platform::clock::SystemClock;
use sea_orm::{
    ConnectionTrait as _, Database, DatabaseConnection, Statement, TransactionTrait as _,
};

/// Notes of the user who searches.
const OWN: u32 = 10_000;
/// Notes of each other user.
const OTHERS: u32 = 1_000;
/// Number of all notes if `NOTES` is not set.
const ALL: u32 = 1_000_000;
/// Notes per `INSERT`.
const CHUNK: u32 = 20_000;
/// Searches per query.
const SEARCHES: usize = 50;
/// Notes that are created and updated, one at a time.
const WRITES: usize = 500;

/// Names and texts of the queries.
const QUESTIONS: &[(&str, &str)] = &[
    ("one rare word", "w777x"),
    ("a word in every 50th note", "v7"),
    ("a word in every note", "common"),
    ("two words", "common v7"),
    ("a phrase", "\"common words\""),
    ("a compound", "report_v7.pdf"),
    ("Chinese, three characters", "数据库"),
    ("Chinese, one character", "库"),
    ("common, one excluded", "common -v7"),
    ("what is nowhere", "absent"),
];

pub(crate) async fn main() -> anyhow::Result<()> {
    let config = Config::from_env(&notes::product())?;
    let stores = Stores::in_memory(config.session_ttl);
    let app = App::connect(&config, Arc::new(SystemClock), stores.bus).await?;
    let all: u32 = match std::env::var("NOTES") {
        Ok(number) => number.parse().context("NOTES is a number")?,
        Err(_unset) => ALL,
    };
    let me = UserId::new("dev:me");

    // This connection has no statement timeout, unlike those of the product.
    let db = app.db().schema_connection().await?;
    fill(&db, all).await.context("the database could not be filled")?;
    let begun = Instant::now();
    let mut indexed = 0;
    loop {
        match index::refresh(app.state()).await? {
            0 => break,
            count => indexed += count,
        }
    }
    let elapsed = begun.elapsed();
    let rate = f64::from(u32::try_from(indexed)?) / elapsed.as_secs_f64();
    println!("indexed anew: {indexed} notes in {elapsed:.1?}, {rate:.0}/s");
    // On its own connection, without a statement timeout.
    let patient = Database::connect(std::env::var("DATABASE_URL")?).await?;
    patient.execute_unprepared("VACUUM ANALYZE notes").await?;
    println!("sizes: {}", sizes(&db).await?);

    println!("{:<28} {:>7} {:>9} {:>9}", "search", "found", "p50 ms", "p99 ms");
    for (what, question) in QUESTIONS {
        let words = SearchQuery::parse(question)?;
        let mut times = Vec::with_capacity(SEARCHES);
        let mut found = 0;
        for _ in 0..SEARCHES {
            let begun = Instant::now();
            found = store::find(app.state(), &me, &words, PageSize::default()).await?.notes.len();
            times.push(begun.elapsed());
        }
        let (p50, p99) = percentiles(times);
        println!("{what:<28} {found:>7} {p50:>9.2} {p99:>9.2}");
    }

    let (mut creates, mut updates) = (Vec::new(), Vec::new());
    for number in 0..WRITES {
        let draft = Draft {
            title: Title::parse("A note of the benchmark")?,
            body: Body::parse("The quick brown fox jumps over the lazy dog.")?,
            tags: Tags::default(),
        };
        let begun = Instant::now();
        let note = store::create(app.state(), &me, draft).await?;
        creates.push(begun.elapsed());
        let title = Some(Title::parse(&format!("Note {number} of the benchmark"))?);
        let begun = Instant::now();
        store::update(app.state(), &me, note.id, Changes { title, ..Changes::default() }).await?;
        updates.push(begun.elapsed());
    }
    for (what, times) in [("create", creates), ("update", updates)] {
        let (p50, p99) = percentiles(times);
        println!("{what:<28} {:>7} {p50:>9.2} {p99:>9.2}", "");
    }
    Ok(())
}

/// Inserts notes of about 600 characters, not indexed, as an earlier version of the program did.
async fn fill(db: &DatabaseConnection, all: u32) -> anyhow::Result<()> {
    let mut first = 0;
    while first < all {
        let last = all.min(first + CHUNK) - 1;
        let transaction = db.begin().await?;
        transaction.execute_unprepared("SET LOCAL statement_timeout = 0").await?;
        let sql = "INSERT INTO notes (id, owner_sub, title, body, tags, created_at, updated_at)
            SELECT gen_random_uuid(),
                CASE WHEN n < $1 THEN 'dev:me' ELSE 'dev:p' || n / $2 END,
                'Note ' || n || ' of w' || n % 997,
                'Some common words, see report_v' || n % 50 || '.pdf and v' || n % 50 || ', '
                    || CASE WHEN n % 10 = 0 THEN '本周完成了数据库迁移 ' ELSE '' END
                    || 'w' || n || 'x '
                    || (SELECT string_agg('w' || (n::bigint * k * 7919) % 20011, ' ')
                        FROM generate_series(1, 80) AS k),
                jsonb_build_array('t' || n % 7), now() - n * interval '1 second', now()
            FROM generate_series($3, $4) AS n";
        let values = [i64::from(OWN), i64::from(OTHERS), i64::from(first), i64::from(last)];
        let values = values.map(sea_orm::Value::from);
        let backend = db.get_database_backend();
        transaction.execute_raw(Statement::from_sql_and_values(backend, sql, values)).await?;
        transaction.commit().await?;
        first = last + 1;
    }
    Ok(())
}

async fn sizes(db: &DatabaseConnection) -> anyhow::Result<String> {
    let sql = "SELECT 'table ' || pg_size_pretty(pg_table_size('notes')) || ', index of words '
        || pg_size_pretty(pg_relation_size('notes_search_index')) AS sizes";
    let row = db.query_one_raw(Statement::from_string(db.get_database_backend(), sql)).await?;
    Ok(row.context("there is one row")?.try_get("", "sizes")?)
}

/// Returns the median and the 99th percentile in milliseconds.
fn percentiles(mut times: Vec<Duration>) -> (f64, f64) {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1_000.0;
    (at(50), at(99))
}
