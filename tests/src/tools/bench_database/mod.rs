//! `bench-database` fills a PostgreSQL with millions of notes of many people, explains every statement of the
//! hot paths, and measures lists, searches and what a created note costs the database.
//!
//! The statements are not copied here: the functions of the service run on connections on which `auto_explain`
//! sends the plan of every statement, with those of triggers ([`plans`]).
//!
//! | variable | |
//! |---|---|
//! | `NOTES`, `PEOPLE` | how much to generate |
//! | `DATABASE_URL` | an existing PostgreSQL, to which a superuser connects. Notes that an earlier run generated are used again. Without it, the program starts a private server |

#![expect(clippy::print_stdout, reason = "the figures are what it is for")]

use std::{env, sync::Arc, time::Instant};

use anyhow::Context as _;
use app::{App, config::Config};
use mcp::{Stores, UserId};
use platform::clock::SystemClock;
use sea_orm::{ConnectOptions, Database, DatabaseConnection};
use tests::postgres;

mod base_paths;
mod costs;
mod fill;
mod fill_base;
mod latency;
mod note_paths;
mod plans;
mod texts;

/// Settings of the private server. It has the memory of a small server of its own; what it writes does not have
/// to survive.
const SETTINGS: &[&str] = &[
    "shared_buffers=2GB",
    "maintenance_work_mem=2GB",
    "wal_level=minimal",
    "max_wal_senders=0",
    "max_wal_size=30GB",
    "checkpoint_timeout=1h",
];

/// Settings of the connections whose statements are explained, as a parameter of the URL. The plans arrive as
/// notices.
const EXPLAINING: &str = "options=-c session_preload_libraries=auto_explain \
    -c auto_explain.log_min_duration=0 -c auto_explain.log_analyze=on -c auto_explain.log_buffers=on \
    -c auto_explain.log_format=json -c auto_explain.log_nested_statements=on \
    -c auto_explain.log_level=notice";

/// What is generated.
#[derive(Clone, Copy, Debug)]
struct Size {
    /// Notes of all people.
    notes: u64,
    /// People, of whom one has [`LARGE_NOTES`] notes, and the others nearly the same number each.
    people: u64,
}

/// The notes of the person who has most.
const LARGE_NOTES: u64 = 10_000;

/// The person who has most notes.
fn large() -> UserId {
    UserId::new("dev:large")
}

/// One of the others.
fn person(number: u64, size: Size) -> UserId {
    UserId::new(format!("dev:p{}", texts::scramble(number) % (size.people - 1)))
}

pub(crate) async fn main() -> anyhow::Result<()> {
    let size = Size { notes: number("NOTES", 10_000_000)?, people: number("PEOPLE", 100_000)? };
    let plans = plans::Plans::install()?;
    let mut server = None;
    let url = match env::var("DATABASE_URL") {
        Ok(url) => url,
        Err(_unset) => {
            let started = postgres::Server::with(SETTINGS).await;
            format!("{}/postgres", server.insert(started).url())
        }
    };
    postgres::migrate(&notes::product(), &url).await;
    let app = connect(&url, 10).await?;
    let began = Instant::now();
    fill::fill(&app, &url, size).await?;
    fill_base::fill(&app, &url, size).await?;
    println!("filled in {:.0} s\n", began.elapsed().as_secs_f64());
    fill::print_sizes(&patient(&url).await?, size).await?;

    let separator = if url.contains('?') { '&' } else { '?' };
    let explained = format!("{url}{separator}{}", EXPLAINING.replace(' ', "%20"));
    let explaining = connect(&explained, 2).await?;
    plans::print_head();
    note_paths::run(&explaining, &plans, size).await?;
    base_paths::run(&explaining, &plans, size).await?;
    explaining.close().await;

    app.close().await;
    latency::run(&url, size).await?;
    costs::run(&url).await
}

fn number(variable: &str, default: u64) -> anyhow::Result<u64> {
    match env::var(variable) {
        Ok(number) => number.parse().with_context(|| format!("{variable} is not a number")),
        Err(_unset) => Ok(default),
    }
}

/// Connects an instance of the service.
async fn connect(url: &str, connections: u32) -> anyhow::Result<App> {
    let config = Config::read(&notes::product(), |name| match name {
        "DATABASE_URL" => Some(url.to_owned()),
        "DATABASE_MAX_CONNECTIONS" => Some(connections.to_string()),
        "JWT_SIGNING_SECRET" => Some("the secret of all services of the benchmark".to_owned()),
        _ => None,
    })?;
    let stores = Stores::in_memory(config.session_ttl);
    App::connect(&config, Arc::new(SystemClock), stores.bus).await
}

/// Opens a connection without the time limits of the service.
async fn patient(url: &str) -> anyhow::Result<DatabaseConnection> {
    let mut options = ConnectOptions::new(url);
    options.max_connections(1).sqlx_logging(false);
    Ok(Database::connect(options).await?)
}
