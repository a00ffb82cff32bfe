//! Random clients against instances and workers that come and go, and a model of what they were
//! promised.
//!
//! Everything random comes from one seed: what the clients do, and what happens to the instances, the
//! workers, Redis and the database ([`weather`]). The order in which the two meet is the machine's. A
//! client ([`legacy`], [`modern`]) knows what it asked for and what it was told; what contradicts a
//! promise is noted in the [`Tally`], and so is how often each kind of thing has happened, so that a run
//! in which nothing happened cannot look like a success.

mod jobs;
mod legacy;
mod modern;
mod notes;
mod tally;
mod weather;
mod wire;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::{sync::Mutex, task::JoinSet, time::Instant};

pub use self::tally::Tally;
use self::{jobs::Jobs, notes::Notes, wire::Http};
use crate::processes::{Kind, Persistence, Plan};

/// How many clients of each era there are. Each has a user of its own.
const CLIENTS: usize = 4;

/// How many workers there are.
const WORKERS: usize = 2;

/// Seconds of the lease of a job: a tenth of what it is in production, so that jobs are taken over
/// all the time.
const JOB_LEASE: &str = "3";

/// How long one thing that a client does may take, with everything that goes wrong on the way: the
/// longest outage, the lease of a lost call, and the run of what is run again, twice over.
const OPERATION_LIMIT: Duration = Duration::from_secs(90);

/// What a client was promised, to be compared with what is there at the end.
struct Promised {
    notes: Notes,
    jobs: Jobs,
}

/// What all clients share.
#[derive(Debug)]
pub(crate) struct World {
    http: Http,
    tally: Tally,
    /// How often Redis has lost its data. What was under way then is excused, and only then.
    forgotten: AtomicU64,
    done: AtomicBool,
}

impl World {
    fn forgotten(&self) -> u64 {
        self.forgotten.load(Ordering::SeqCst)
    }

    fn is_over(&self) -> bool {
        self.done.load(Ordering::SeqCst)
    }
}

/// Lets it rage for `time`, and says what came of it.
pub async fn run(seed: u64, time: Duration) -> Tally {
    let mut seeds = StdRng::seed_from_u64(seed);
    let plan = Plan::new(Kind::Fixtures).workers(WORKERS).with("TEST_LEASE", JOB_LEASE);
    let mut fleet = plan.persistence(Persistence::Always).start().await;
    let mut users = Vec::new();
    for index in 0..CLIENTS {
        for era in ["legacy", "modern"] {
            users.push((era, fleet.token(&format!("{era}-{index}")).await));
        }
    }
    let balancer = fleet.balancer(None);
    let world = Arc::new(World {
        http: Http::new(balancer.origin()),
        tally: Tally::default(),
        forgotten: AtomicU64::new(0),
        done: AtomicBool::new(false),
    });

    let mut clients = JoinSet::new();
    for (era, token) in users {
        let client = (Arc::clone(&world), token, StdRng::seed_from_u64(seeds.random()));
        match era {
            "legacy" => clients.spawn(legacy::run(client.0, client.1, client.2)),
            _ => clients.spawn(modern::run(client.0, client.1, client.2)),
        };
    }
    let weather = StdRng::seed_from_u64(seeds.random());
    weather::rage(&mut fleet, &world, weather, Instant::now() + time).await;
    world.done.store(true, Ordering::SeqCst);

    // The sky is clear: whatever is under way must come to an end now.
    let promised: Mutex<Vec<Promised>> = Mutex::default();
    let all = async {
        while let Some(ended) = clients.join_next().await {
            match ended {
                Ok(it) => promised.lock().await.push(it),
                Err(error) => world.tally.broken(format!("a client fell over: {error}")),
            }
        }
    };
    if tokio::time::timeout(OPERATION_LIMIT + Duration::from_secs(10), all).await.is_err() {
        world.tally.broken("clients hang though nothing is away any more".to_owned());
    }
    for Promised { notes, jobs } in promised.into_inner() {
        let verified = async {
            // Jobs first: one that nobody followed may still write notes.
            jobs.verify(&world).await;
            notes.verify(&world).await;
        };
        if tokio::time::timeout(OPERATION_LIMIT, verified).await.is_err() {
            world.tally.broken("a job does not end though nothing is away any more".to_owned());
        }
    }
    if world.tally.has_broken() {
        for index in 0..fleet.len() {
            let log = fleet.instance(index).log();
            world.tally.keep_log(&format!("instance {index}"), &log);
        }
        for index in 0..fleet.workers() {
            let log = fleet.worker(index).log();
            world.tally.keep_log(&format!("worker {index}"), &log);
        }
    }
    world.tally.add("requests that the load balancer saw break", balancer.lost());
    world.tally.clone()
}
