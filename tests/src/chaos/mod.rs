//! Random clients against instances and workers that fail and restart, and a model of the guarantees that
//! the clients were given.
//!
//! All random decisions come from one seed: the actions of the clients, and the faults of the instances,
//! the workers, Redis and the database ([`weather`]). Their interleaving depends on the machine. A client
//! ([`legacy`], [`modern`]) knows its requests and the responses; violations of a guarantee are recorded in
//! the [`Tally`], with the number of events of each kind, so that a run without faults cannot pass.

mod items;
mod jobs;
mod legacy;
mod modern;
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
use self::{items::Items, jobs::Jobs, wire::Http};
use crate::processes::{Kind, Persistence, Plan};

/// Number of clients of each era, each with its own user.
const CLIENTS: usize = 4;

/// Number of workers.
const WORKERS: usize = 2;

/// Lease of a job in seconds: a tenth of that in production, so that jobs are often reclaimed.
const JOB_LEASE: &str = "3";

/// Timeout of one action of a client, including faults: twice the sum of the longest outage, the lease of a
/// lost call, and its second run.
const OPERATION_LIMIT: Duration = Duration::from_secs(90);

/// The guarantees that a client was given, to be compared with the final state.
struct Promised {
    items: Items,
    jobs: Jobs,
}

/// The state that all clients share.
#[derive(Debug)]
pub(crate) struct World {
    http: Http,
    tally: Tally,
    /// How often Redis has lost its data. Only requests during such a loss may fail because of it.
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

impl World {
    /// The server at `origin`, before the first client has called.
    fn of(origin: &str) -> Arc<Self> {
        Arc::new(Self {
            http: Http::new(origin),
            tally: Tally::default(),
            forgotten: AtomicU64::new(0),
            done: AtomicBool::new(false),
        })
    }

    /// Starts one client for each user: its era, and its access token.
    fn start(
        self: &Arc<Self>,
        users: Vec<(&str, String)>,
        seeds: &mut StdRng,
    ) -> JoinSet<Promised> {
        let mut clients = JoinSet::new();
        for (era, token) in users {
            let client = (Arc::clone(self), token, StdRng::seed_from_u64(seeds.random()));
            match era {
                "legacy" => clients.spawn(legacy::run(client.0, client.1, client.2)),
                _ => clients.spawn(modern::run(client.0, client.1, client.2)),
            };
        }
        clients
    }

    /// Ends the clients, and compares the final state with what they were promised.
    async fn settle(&self, mut clients: JoinSet<Promised>) {
        self.done.store(true, Ordering::SeqCst);
        // No more faults: everything in progress must end now.
        let promised: Mutex<Vec<Promised>> = Mutex::default();
        let all = async {
            while let Some(ended) = clients.join_next().await {
                match ended {
                    Ok(it) => promised.lock().await.push(it),
                    Err(error) => self.tally.broken(format!("a client fell over: {error}")),
                }
            }
        };
        if tokio::time::timeout(OPERATION_LIMIT + Duration::from_secs(10), all).await.is_err() {
            self.tally
                .broken("clients hang although all dependencies are available again".to_owned());
        }
        for Promised { items, jobs } in promised.into_inner() {
            let verified = async {
                // Jobs first: one that no client followed may still create items.
                jobs.verify(self).await;
                items.verify(self).await;
            };
            if tokio::time::timeout(OPERATION_LIMIT, verified).await.is_err() {
                self.tally.broken(
                    "a job does not end although all dependencies are available again".to_owned(),
                );
            }
        }
    }
}

/// Runs clients of these users, each with its era and access token, for `time` and without faults.
pub(crate) async fn calm(
    origin: &str,
    users: Vec<(&str, String)>,
    seed: u64,
    time: Duration,
) -> Tally {
    let world = World::of(origin);
    let clients = world.start(users, &mut StdRng::seed_from_u64(seed));
    tokio::time::sleep_until(Instant::now() + time).await;
    world.settle(clients).await;
    world.tally.clone()
}

/// Runs clients and faults for `time`, and returns the tally.
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
    let world = World::of(balancer.origin());
    let clients = world.start(users, &mut seeds);
    let weather = StdRng::seed_from_u64(seeds.random());
    weather::rage(&mut fleet, &world, weather, Instant::now() + time).await;
    world.settle(clients).await;
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
