//! What one created note costs Postgres: CPU time of the process that serves the connection, as Linux counts it.
//!
//! The service creates notes in a database of its own, from which one index or trigger after the other is
//! removed.

use std::{fs, time::Duration};

use anyhow::Context as _;
use app::App;
use notes::store::{self, Body, Draft, Tags, Title};
use sea_orm::{ConnectionTrait as _, DbBackend, Statement};
use tests::postgres;

use super::{Size, connect, note_paths, patient, person};

/// Notes per measurement.
const CREATED: u64 = 1_000;

/// Measurements, of which the smallest counts: what others do on the machine only adds to it.
const ROUNDS: usize = 3;

/// People who create notes in turn.
const PEOPLE: Size = Size { notes: 0, people: 1_000 };

/// What is removed, in this order.
const REMOVED: &[(&str, &str)] = &[
    ("complete", "SELECT 1"),
    (
        "without the trigger that counts notes",
        "ALTER TABLE notes DISABLE TRIGGER note_usage_insert",
    ),
    ("and without the index of words", "DROP INDEX notes_search_index"),
    (
        "and without all other indexes except for the primary key",
        "DO $$ DECLARE dropped record; BEGIN
            FOR dropped IN SELECT indexrelid::regclass AS name FROM pg_index
                WHERE indrelid = 'notes'::regclass AND NOT indisprimary
            LOOP EXECUTE format('DROP INDEX %s', dropped.name); END LOOP;
        END $$",
    ),
];

pub(super) async fn run(url: &str) -> anyhow::Result<()> {
    let (server, _) = url.rsplit_once('/').context("the URL names a database")?;
    let admin = patient(url).await?;
    admin.execute_unprepared("DROP DATABASE IF EXISTS bench_costs").await?;
    admin.execute_unprepared("CREATE DATABASE bench_costs").await?;
    let url = format!("{server}/bench_costs");
    postgres::migrate(&notes::product(), &url).await;
    let schema = patient(&url).await?;
    println!("| CPU time of Postgres, in µs | short note | generated note |\n|---|---|---|");
    for (what, sql) in REMOVED {
        schema.execute_unprepared(sql).await?;
        // One connection, so that its process is known.
        let app = connect(&url, 1).await?;
        let short = create(&app, short).await?;
        let generated = create(&app, generated).await?;
        println!("| create, {what} | {short:.0} | {generated:.0} |");
        app.close().await;
    }
    schema.close().await?;
    admin.execute_unprepared("DROP DATABASE bench_costs").await?;
    Ok(())
}

/// The note that `bench/run` creates.
async fn short(app: &App, number: u64) -> anyhow::Result<()> {
    let draft = Draft {
        title: Title::parse("A note of the benchmark")?,
        body: Body::parse("The quick brown fox jumps over the lazy dog.")?,
        tags: Tags::default(),
    };
    store::create(app.state(), &person(number, PEOPLE), draft).await?;
    Ok(())
}

async fn generated(app: &App, number: u64) -> anyhow::Result<()> {
    note_paths::create(app, &person(number, PEOPLE), number).await?;
    Ok(())
}

async fn create(
    app: &App,
    note: impl AsyncFn(&App, u64) -> anyhow::Result<()>,
) -> anyhow::Result<f64> {
    smallest(app, async |number| note(app, number).await).await
}

/// Returns the CPU time per call in microseconds.
#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
async fn smallest(app: &App, call: impl AsyncFn(u64) -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let backend = Backend::of(app).await?;
    let mut smallest = f64::MAX;
    for _ in 0..ROUNDS {
        let before = backend.cpu_time()?;
        for number in 0..CREATED {
            call(number).await?;
        }
        let time = backend.cpu_time()?.saturating_sub(before);
        smallest = smallest.min(time.as_micros() as f64 / CREATED as f64);
    }
    Ok(smallest)
}

/// The process of Postgres that serves the only connection of an instance.
pub(super) struct Backend {
    process: i32,
}

impl Backend {
    pub(super) async fn of(app: &App) -> anyhow::Result<Self> {
        let sql = "SELECT pg_backend_pid() AS process";
        let statement = Statement::from_string(DbBackend::Postgres, sql);
        let row = app.db().query_one_raw(statement).await?.context("there is one row")?;
        Ok(Self { process: row.try_get("", "process")? })
    }

    /// Returns the CPU time that the process has used.
    pub(super) fn cpu_time(&self) -> anyhow::Result<Duration> {
        let status = fs::read_to_string(format!("/proc/{}/schedstat", self.process))
            .context("Linux counts the CPU time of processes of this machine")?;
        let nanoseconds = status.split(' ').next().context("the first number")?.parse()?;
        Ok(Duration::from_nanos(nanoseconds))
    }
}
