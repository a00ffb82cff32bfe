//! `conformance-fleet`: three instances of the fixtures, each a process of its own, with two workers,
//! Redis, a database and a load balancer that is not sticky. A random one of the instances and workers
//! is killed and started again all the time.
//!
//! Says on its first line, in JSON, where the load balancer is, and on a further line each time how
//! many requests have broken with an instance so far. Ends when its standard input does.

use std::{
    io::{Write as _, stdout},
    time::Duration,
};

use clap::Args;
use rand::RngExt as _;
use serde_json::json;
use tests::processes::{Kind, Plan};
use tokio::{io::AsyncReadExt as _, time::interval};

#[derive(Args)]
pub(crate) struct Arguments {
    /// Milliseconds from one kill to the next.
    #[arg(long, default_value_t = 2_000)]
    kill_every: u64,
}

/// Seconds of the lease of a job, after which another worker has it. The suite waits for ten seconds
/// at most, which is less than a lease in production.
const JOB_LEASE: &str = "2";

/// How often it is looked whether a request has broken.
const LOOK: Duration = Duration::from_millis(20);

pub(crate) async fn main(arguments: Arguments) -> anyhow::Result<()> {
    let plan = Plan::new(Kind::Fixtures).workers(2).with("TEST_OFFER", "fixtures");
    let mut fleet = plan.with("TEST_LEASE", JOB_LEASE).start().await;
    let token = fleet.token("conformance").await;
    let balancer = fleet.balancer(Some(token.clone()));
    say(&json!({ "origin": balancer.origin(), "token": token }))?;

    let mut nothing = Vec::new();
    let mut stdin = tokio::io::stdin();
    let killing = async {
        let mut turn = interval(Duration::from_millis(arguments.kill_every));
        turn.tick().await;
        loop {
            turn.tick().await;
            let victim = rand::rng().random_range(0..fleet.len() + fleet.workers());
            match victim.checked_sub(fleet.len()) {
                None => {
                    fleet.kill(victim).await;
                    fleet.start_again(victim).await;
                }
                Some(worker) => {
                    fleet.kill_worker(worker).await;
                    fleet.start_worker_again(worker).await;
                }
            }
        }
    };
    let counting = async {
        let mut said = 0;
        let mut look = interval(LOOK);
        loop {
            look.tick().await;
            let lost = balancer.lost();
            if lost != said {
                said = lost;
                say(&json!({ "lost": lost }))?;
            }
        }
    };
    tokio::select! {
        ended = stdin.read_to_end(&mut nothing) => ended.map(drop).map_err(Into::into),
        () = killing => Ok(()),
        failed = counting => failed,
    }
}

fn say(line: &serde_json::Value) -> anyhow::Result<()> {
    Ok(writeln!(stdout(), "{line}")?)
}
