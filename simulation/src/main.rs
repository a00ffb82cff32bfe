//! Runs simulated schedules, and prints those that violate a property.

use std::{
    collections::BTreeSet,
    process::ExitCode,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use allocator as _;
use clap::Parser;
use simulation::Property;

/// The number of schedules if none is given.
const SCHEDULES: u64 = 100_000;

/// The most failing seeds that are printed.
const MAX_SHOWN: usize = 20;

/// Runs simulated schedules, and prints those that violate a property.
#[derive(Parser)]
struct Arguments {
    /// Runs one schedule and prints its trace.
    #[arg(long)]
    seed: Option<u64>,
    /// Parts of the schedule to leave out, with --seed: numbers separated by commas.
    #[arg(long, value_delimiter = ',')]
    without: Vec<u64>,
    /// Shortens a failing schedule and prints its trace.
    #[arg(long, value_name = "SEED")]
    shrink: Option<u64>,
    /// The number of schedules.
    #[arg(long, default_value_t = SCHEDULES)]
    schedules: u64,
    /// The first seed; by default that of the day.
    #[arg(long)]
    from: Option<u64>,
    /// Ends after this time, even if fewer schedules have run.
    #[arg(long)]
    minutes: Option<u64>,
    /// The number of threads, each with its own schedules; by default one for each core.
    #[arg(long)]
    threads: Option<u64>,
    /// Ends at the first schedule that violates a property.
    #[arg(long)]
    first: bool,
    /// Runs every schedule twice and compares the traces.
    #[arg(long)]
    twice: bool,
}

#[expect(clippy::print_stdout, reason = "this is its result")]
fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(seed) = arguments.shrink {
        let Some((property, without)) = simulation::shrink(seed) else {
            println!("seed {seed} violates no property");
            return ExitCode::SUCCESS;
        };
        let list = without.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
        println!("{property}: {}", property.sentence());
        println!("repeat it with: simulate --seed {seed} --without {list}\n");
        return replay(seed, &without);
    }
    if let Some(seed) = arguments.seed {
        return replay(seed, &arguments.without.iter().copied().collect());
    }
    search(&arguments)
}

#[expect(clippy::print_stdout, reason = "this is its result")]
fn replay(seed: u64, without: &BTreeSet<u64>) -> ExitCode {
    let outcome = simulation::run(seed, without, true);
    println!("{}\n{}", outcome.plan, outcome.trace);
    for violation in &outcome.violations {
        println!("VIOLATED {violation}\n    {}", violation.property.sentence());
    }
    println!("trace {:016x}", outcome.trace_hash());
    if outcome.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The schedules of one thread.
#[derive(Default)]
struct Tally {
    schedules: u64,
    succeeded: usize,
    failed: Vec<(u64, Property, String)>,
}

#[expect(clippy::print_stdout, reason = "this is its result")]
fn search(arguments: &Arguments) -> ExitCode {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let today = since_epoch.as_secs() / 86_400 * 1_000_000_000;
    let from = arguments.from.unwrap_or(today);
    let cores = thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    let threads = arguments.threads.unwrap_or(cores).max(1);
    println!("simulate --from {from} --schedules {}", arguments.schedules);
    let began = Instant::now();
    let deadline = arguments.minutes.map(|minutes| began + Duration::from_secs(60 * minutes));
    let tallies: Vec<Tally> = thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|thread| {
                let seeds = (from..from + arguments.schedules)
                    .skip(usize::try_from(thread).unwrap_or(0))
                    .step_by(usize::try_from(threads).unwrap_or(1));
                scope.spawn(move || run_all(arguments, seeds, deadline))
            })
            .collect();
        running.into_iter().filter_map(|it| it.join().ok()).collect()
    });
    let seconds = began.elapsed().as_secs_f64();
    let schedules: u64 = tallies.iter().map(|tally| tally.schedules).sum();
    let succeeded: usize = tallies.iter().map(|tally| tally.succeeded).sum();
    let mut failed: Vec<_> = tallies.into_iter().flat_map(|tally| tally.failed).collect();
    failed.sort();
    for (seed, property, what) in failed.iter().take(MAX_SHOWN) {
        println!("FAILED  seed {seed}: {property}: {what}");
    }
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = schedules as f64 / seconds / threads as f64;
    println!(
        "{schedules} schedules, {succeeded} successful calls, {seconds:.1} s, {rate:.0} per second and thread"
    );
    let passed = schedules - u64::try_from(failed.len()).unwrap_or(schedules);
    println!("total: {passed} passed, {} failed", failed.len());
    if failed.is_empty() && schedules > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run_all(
    arguments: &Arguments,
    seeds: impl Iterator<Item = u64>,
    deadline: Option<Instant>,
) -> Tally {
    let mut tally = Tally::default();
    for seed in seeds {
        if deadline.is_some_and(|deadline| Instant::now() >= deadline)
            || (arguments.first && !tally.failed.is_empty())
        {
            break;
        }
        let outcome = simulation::run(seed, &BTreeSet::new(), arguments.twice);
        tally.schedules += 1;
        tally.succeeded += outcome.succeeded;
        if let Some(violation) = outcome.violations.first() {
            tally.failed.push((seed, violation.property, violation.to_string()));
        }
        if arguments.twice {
            let again = simulation::run(seed, &BTreeSet::new(), true);
            if again.trace_hash() != outcome.trace_hash() {
                let what = "two runs have different traces".to_owned();
                tally.failed.push((seed, Property::NoPanic, what));
            }
        }
    }
    tally
}
