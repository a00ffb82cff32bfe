//! `conformance-fleet` runs three instances of the fixtures and two workers as separate processes, with
//! Redis, a database and a load balancer without sticky sessions. At regular intervals it kills and
//! restarts a random instance or worker.
//!
//! The first line of its output is JSON with the address of the load balancer. A further line follows
//! whenever the number of requests that were lost with an instance changes. It ends when standard input is
//! closed.

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

/// Lease of a job in seconds, after which another worker takes it over. The suite waits for at most ten
/// seconds, less than the lease in production.
const JOB_LEASE: &str = "2";

/// Interval at which lost requests are reported.
const LOOK: Duration = Duration::from_millis(20);

pub(crate) async fn main(arguments: Arguments) -> anyhow::Result<()> {
    let plan = Plan::new(Kind::Fixtures).workers(2).with("TEST_PRODUCT", "protocol");
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
