//! A long run of mixed traffic that fails when anything grows.
//!
//! Two instances and two workers run as processes, with a Redis and a database. The traffic comes in rounds
//! ([`traffic`]). Each round has new users and sessions; at its end all its calls, streams and jobs have
//! ended. Then the rows of the round get so old that their retention has passed, the schedules delete them
//! ([`rows`]), and everything is measured ([`measure`]): what a round leaves behind adds up. The growth per
//! hour is the slope of a line through the samples of the second half of the run ([`growth`]); in the first
//! half, caches fill and the first keys expire.

mod growth;
mod measure;
mod rows;
mod traffic;

use std::{fmt, time::Duration};

use tokio::time::Instant;

use self::{growth::Growth, measure::Meter, traffic::Traffic};
use crate::{
    chaos::Tally,
    fixtures::LEAK,
    github::GitHub,
    processes::{Kind, Plan},
};

/// The duration of the traffic of a round.
const ROUND: Duration = Duration::from_secs(30);

/// Most keys in Redis live for at most 15 minutes after their last use; their number is constant after that.
/// Before, it grows: the second half of a run that takes twice as long does not.
const KEYS_ARE_CONSTANT_AFTER: Duration = Duration::from_mins(18);

/// The lifetime of a session after its last request, the shortest that can be set.
const SESSION_TTL: &str = "1m";

/// The token for the metrics of instances.
const METRICS_TOKEN: &str = "a-token-for-metrics-of-32-bytes-or-more";

/// The result of a run.
#[derive(Debug)]
pub struct Report {
    tally: Tally,
    growth: Vec<Growth>,
    rounds: usize,
}

impl Report {
    /// Whether nothing has grown, and every guarantee was kept.
    pub fn is_good(&self) -> bool {
        self.tally.broken_promises().is_empty() && self.growth.iter().all(Growth::is_good)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.tally)?;
        writeln!(f, "{} rounds\n", self.rounds)?;
        writeln!(f, "{}", Growth::HEADING)?;
        for growth in &self.growth {
            writeln!(f, "{growth}")?;
        }
        writeln!(f)?;
        for growth in self.growth.iter().filter(|it| !it.is_good()) {
            writeln!(f, "GROWS   {}: {}", growth.name, growth.why)?;
        }
        for promise in self.tally.broken_promises() {
            writeln!(f, "BROKEN  {promise}")?;
        }
        let bad = self.growth.iter().filter(|it| !it.is_good()).count();
        let broken = self.tally.broken_promises().len();
        write!(f, "total: {} passed, {} failed", self.growth.len() - bad, bad + broken)
    }
}

/// Runs traffic for `time`. `leak`: bytes that each call of `items_create` keeps forever. `print` gets a line
/// for each round.
pub async fn run(time: Duration, leak: usize, print: impl Fn(String)) -> Report {
    let github = GitHub::start().await;
    let plan = Plan::new(Kind::Fixtures).instances(2).workers(2).with_github(&github);
    let plan = plan.with("SESSION_TTL", SESSION_TTL).with("METRICS_TOKEN", METRICS_TOKEN);
    let mut fleet = plan.with(LEAK, leak.to_string()).start().await;
    let balancer = fleet.balancer(None);
    let mut traffic = Traffic::start(&fleet, balancer.origin()).await;
    let mut meter = Meter::default();
    let (tally, began, mut rounds) = (Tally::default(), Instant::now(), 0);
    while began.elapsed() < time {
        rounds += 1;
        tally.absorb(&traffic.round(&fleet, rounds, ROUND).await);
        rows::expire(&fleet).await;
        let line = meter.sample(&mut fleet, began.elapsed()).await;
        print(format!("{:>5} s  {line}", began.elapsed().as_secs()));
    }
    let are_keys_constant = time / 2 >= KEYS_ARE_CONSTANT_AFTER;
    Report { tally, growth: meter.growth(time / 2, are_keys_constant), rounds }
}
