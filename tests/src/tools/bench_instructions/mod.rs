//! `bench-instructions` counts the user-space instructions of a call with callgrind: `bench/instructions`.
//!
//! The numbers depend on the code, the compiler and the C library, not on the machine or its load, so a
//! change of a few per cent is visible and can be checked in CI ([`gate`]).

#![expect(clippy::print_stdout, reason = "the figures are what it is for")]

mod callgrind;
mod connection;
mod gate;
mod pace;
mod paths;
mod servers;

use std::{collections::HashMap, fs, path::PathBuf, time::Duration};

use anyhow::Context as _;
use clap::Args;

use self::{
    callgrind::{Profile, Server, pause},
    connection::Connection,
    paths::Path,
    servers::{Setup, Trace},
};

/// Calls before the measurement, so that connections, prepared statements and caches exist.
const WARM_UP: usize = 50;

/// How long the idle server is observed: a multiple of the periods of its background tasks.
const IDLE: Duration = Duration::from_secs(10);

#[derive(Args)]
pub(crate) struct Arguments {
    /// Counts only the paths in this file, and fails if one needs more instructions than the file says.
    #[arg(long, value_name = "FILE")]
    gate: Option<PathBuf>,
    /// With `--gate`: writes the file instead.
    #[arg(long, requires = "gate")]
    accept: bool,
    /// The folder with the programs of bench/peers.
    #[arg(long, required_unless_present = "gate")]
    peers: Option<PathBuf>,
    /// The number of calls of each path.
    #[arg(long, default_value_t = 300)]
    calls: usize,
    /// Only the paths whose names contain this.
    #[arg(long, default_value = "")]
    only: String,
    /// Where the files for `callgrind_annotate` are kept.
    #[arg(long)]
    keep: Option<PathBuf>,
}

pub(crate) async fn main(arguments: Arguments) -> anyhow::Result<()> {
    let temporary = tempfile::tempdir()?;
    let folder = arguments.keep.clone().unwrap_or_else(|| temporary.path().to_owned());
    fs::create_dir_all(&folder)?;
    let folder = folder.canonicalize()?;
    let setup = Setup::new(&folder, arguments.calls + WARM_UP).await?;
    match &arguments.gate {
        Some(file) => gate::run(file, arguments.accept, &setup, arguments.calls).await,
        None => table(&setup, &arguments).await,
    }
}

/// Measures everything and prints a table.
async fn table(setup: &Setup, arguments: &Arguments) -> anyhow::Result<()> {
    let peers = arguments.peers.as_ref().context("clap requires it")?;
    let mut measured: HashMap<&str, u64> = HashMap::new();
    let mut outcomes: HashMap<&str, Outcome> = HashMap::new();
    println!("| path | instructions | allocations | answer, bytes | to floor | to rmcp |");
    println!("|---|---|---|---|---|---|");
    for start in servers::all(peers) {
        let paths: Vec<_> =
            start.paths().into_iter().filter(|path| path.name.contains(&arguments.only)).collect();
        if paths.is_empty() {
            continue;
        }
        let mut server = start.start(setup).await?;
        let background = background(&mut server)?;
        for path in paths {
            let (count, answer, trace) =
                count(&mut server, &path, setup, arguments.calls, background).await?;
            let ratio = |other: Option<&str>| {
                let other = *measured.get(other?)?;
                Some(format!("{:.2}", as_f64(count.instructions) / as_f64(other)))
            };
            let (floor, peer) = (ratio(path.floor), ratio(path.peer));
            let dash = || "–".to_owned();
            println!(
                "| {} | {} | {} | {} | {} | {} |",
                path.name,
                count.instructions,
                count.allocations,
                answer.len(),
                floor.unwrap_or_else(dash),
                peer.unwrap_or_else(dash)
            );
            compare(&mut outcomes, &path, Outcome::new(&answer, trace)?);
            measured.insert(path.name, count.instructions);
        }
    }
    Ok(())
}

/// What a path has returned and done. The floor must do the same.
struct Outcome {
    content: serde_json::Value,
    trace: Trace,
}

impl Outcome {
    fn new(answer: &str, trace: Trace) -> anyhow::Result<Self> {
        let json = answer.lines().rev().find_map(|line| line.strip_prefix("data: {"));
        let json = json.map_or_else(|| answer.to_owned(), |rest| format!("{{{rest}"));
        let mut answer: serde_json::Value = serde_json::from_str(&json).context("not JSON")?;
        Ok(Self { content: answer["result"]["structuredContent"].take(), trace })
    }
}

/// Warns if a path returns or does something else than the floor.
fn compare(outcomes: &mut HashMap<&'static str, Outcome>, path: &Path, outcome: Outcome) {
    if let Some(floor) = path.floor.and_then(|name| outcomes.get(name)) {
        // Each created note has another id and time.
        if path.name.contains("list") && floor.content != outcome.content {
            println!("The content of `{}` differs from that of the floor.", path.name);
        }
        let is_stored = path.name.contains("list") || path.name.contains("create");
        if is_stored && floor.trace != outcome.trace {
            println!(
                "`{}` does something else in the database than the floor: {:?}, {:?}",
                path.name, outcome.trace, floor.trace
            );
        }
    }
    outcomes.insert(path.name, outcome);
}

/// What one call costs.
struct Count {
    instructions: u64,
    allocations: u64,
    functions: Vec<(String, u64)>,
}

/// Counts the instructions of the background tasks per second.
fn background(server: &mut Server) -> anyhow::Result<f64> {
    pause(Duration::from_secs(1)); // after the work of the start
    let (profile, ()) = server.count(|| {
        pause(IDLE);
        Ok(())
    })?;
    Ok(as_f64(profile.instructions) / profile.time.as_secs_f64())
}

/// Calls a path and returns the cost of one call, without that of the background tasks, and the last answer,
/// and what the calls have done in the database.
async fn count(
    server: &mut Server,
    path: &Path,
    setup: &Setup,
    calls: usize,
    background: f64,
) -> anyhow::Result<(Count, String, Trace)> {
    let mut connection = Connection::open(server.port)?;
    let mut caller = paths::Caller::new(path.kind, setup, server.port).await?;
    for _ in 0..WARM_UP {
        caller.call(&mut connection)?;
    }
    let (profile, answer) = server.count(|| {
        let mut answer = String::new();
        for _ in 0..calls {
            answer = caller.call(&mut connection)?;
        }
        Ok(answer)
    })?;
    let trace = setup.take_trace().await?;
    Ok((per_call(profile, calls, background), answer, trace))
}

fn per_call(profile: Profile, calls: usize, background: f64) -> Count {
    let calls = u64::try_from(calls).unwrap_or(u64::MAX);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small count")]
    let background = (background * profile.time.as_secs_f64()) as u64;
    let mut functions: Vec<_> =
        profile.functions.into_iter().map(|(name, cost)| (name, cost / calls)).collect();
    functions.sort_by(|(one, cost), (other, more)| more.cmp(cost).then(one.cmp(other)));
    Count {
        instructions: profile.instructions.saturating_sub(background) / calls,
        allocations: profile.allocations / calls,
        functions,
    }
}

#[expect(clippy::cast_precision_loss, reason = "instructions are fewer than 2^52")]
fn as_f64(count: u64) -> f64 {
    count as f64
}
