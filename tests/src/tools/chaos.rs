//! `chaos` runs random clients against three instances and two workers, while these, their Redis and
//! their database are killed, stopped and disconnected. Prints the number of events and all violations.
//!
//! `CHAOS_SEED` repeats the decisions of a run (not its timing); `CHAOS_SECONDS` sets its duration.

use std::{process::ExitCode, time::Duration};

use tests::chaos;

/// Duration in seconds if `CHAOS_SECONDS` is not set.
const SECONDS: u64 = 60;

/// Events that must have happened at least once; otherwise the run proves too little and fails.
const NEEDED: [&str; 12] = [
    "instances killed",
    "workers killed",
    "workers stopped for a while",
    "workers drained",
    "connections to the database ended",
    "items acknowledged",
    "streams resumed",
    "legacy events",
    "jobs completed",
    "jobs cancelled",
    "questions of jobs answered",
    "results of tasks given to sessions",
];

#[expect(clippy::print_stdout, reason = "this is its result")]
pub(crate) async fn main() -> anyhow::Result<ExitCode> {
    let number = |name| std::env::var(name).ok().map(|it| it.parse::<u64>()).transpose();
    let seed = number("CHAOS_SEED")?.unwrap_or_else(rand::random);
    let seconds = number("CHAOS_SECONDS")?.unwrap_or(SECONDS);
    println!("CHAOS_SEED={seed} CHAOS_SECONDS={seconds}");
    let tally = chaos::run(seed, Duration::from_secs(seconds)).await;
    println!("{tally}");
    let mut broken = tally.broken_promises();
    for event in NEEDED {
        if tally.of(event) == 0 {
            broken.push(format!("nothing was tested: no {event}"));
        }
    }
    for log in tally.logs() {
        println!("{log}\n");
    }
    for promise in &broken {
        println!("BROKEN  {promise}");
    }
    println!("total: {} passed, {} failed", tally.kept(), broken.len());
    Ok(if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
