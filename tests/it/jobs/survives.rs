//! An import of 10,000 items survives the death of all instances and workers, and its client follows it.

use std::time::Duration;

use mcp::UserId;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};
use serde_json::json;
use tests::{
    client::{Stream, Web},
    fixtures::items,
    processes::{Fleet, Kind, Plan},
    schema::Revision,
};
use tokio::time::{Instant, sleep_until};

const ITEMS: usize = 10_000;

/// How often everything dies at once, and how often one process alone. An import may lose its worker
/// nine times, and fewer of these are workers.
const ROUNDS: usize = 2;
const INSTANCES_ALONE: usize = 6;
const WORKERS_ALONE: usize = 4;

/// The longest pause between two deaths, in milliseconds.
const LONGEST_PAUSE: u64 = 1_500;

/// How long the client listens to a stream that says nothing before it comes back for the rest.
const SILENCE: Duration = Duration::from_secs(5);

/// How long the client follows before the test fails. Most of the time goes by until leases of dead
/// workers end.
const PATIENCE: Duration = Duration::from_secs(100);

/// A process that can be killed.
#[derive(Clone, Copy)]
enum Victim {
    Instance(usize),
    Worker(usize),
}

impl Victim {
    async fn dies(self, fleet: &mut Fleet) {
        match self {
            Self::Instance(index) => fleet.kill(index).await,
            Self::Worker(index) => fleet.kill_worker(index).await,
        }
    }

    async fn comes_back(self, fleet: &mut Fleet) {
        match self {
            Self::Instance(index) => fleet.start_again(index).await,
            Self::Worker(index) => fleet.start_worker_again(index).await,
        }
    }
}

/// Who dies next, alone. Random, as everything about it.
struct Deaths {
    random: StdRng,
    /// How many items are there when everything dies.
    rounds: Vec<f64>,
    alone: Vec<Victim>,
    /// When the next one dies alone, once it has begun.
    next: Option<Instant>,
}

impl Deaths {
    fn new(fleet: &Fleet, seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        // When the first items are there, and somewhere later.
        let mut rounds: Vec<_> =
            (1..ROUNDS).map(|_| f64::from(random.random_range(1_000..7_000))).collect();
        rounds.push(1.0);
        rounds.sort_by(|one, next| next.total_cmp(one));
        let instances = (0..INSTANCES_ALONE).map(|it| Victim::Instance(it % fleet.len()));
        let workers = (0..WORKERS_ALONE).map(|it| Victim::Worker(it % fleet.workers()));
        let mut alone: Vec<_> = instances.chain(workers).collect();
        alone.shuffle(&mut random);
        Self { random, rounds, alone, next: None }
    }

    /// Begins, or goes on.
    fn go_on(&mut self) {
        let pause = Duration::from_millis(self.random.random_range(0..LONGEST_PAUSE));
        self.next = (!self.alone.is_empty()).then(|| Instant::now() + pause);
    }

    /// Ends when somebody is to die.
    async fn due(&self) {
        match self.next {
            Some(next) => sleep_until(next).await,
            None => std::future::pending().await,
        }
    }

    /// `kill -9` for one process, which is started again.
    async fn one(&mut self, fleet: &mut Fleet) {
        if let Some(victim) = self.alone.pop() {
            victim.dies(fleet).await;
            victim.comes_back(fleet).await;
        }
        self.go_on();
    }

    /// `kill -9` for all instances and all workers, in any order; then all are started again.
    async fn all(&mut self, fleet: &mut Fleet) {
        let instances = (0..fleet.len()).map(Victim::Instance);
        let mut victims: Vec<_> =
            instances.chain((0..fleet.workers()).map(Victim::Worker)).collect();
        victims.shuffle(&mut self.random);
        for victim in &victims {
            victim.dies(fleet).await;
        }
        for victim in victims {
            victim.comes_back(fleet).await;
        }
    }
}

#[tokio::test]
async fn ten_thousand_items_are_imported_whatever_dies() {
    let seed = std::env::var("TEST_SEED").map_or_else(|_| rand::random(), |it| it.parse().unwrap());
    #[expect(clippy::print_stdout, reason = "shown if the test fails")]
    {
        println!("TEST_SEED={seed} repeats the order of these deaths");
    }
    // As in production, but for the lease, which is a tenth.
    let plan = Plan::new(Kind::Fixtures).workers(2).with("TEST_LEASE", "3");
    let mut fleet = plan.start().await;
    let mut deaths = Deaths::new(&fleet, seed);
    let token = fleet.token("ada").await;
    let webs: Vec<Web> = (0..fleet.len()).map(|it| fleet.web(it).clone()).collect();
    let session = webs[0].legacy_with(&token, Revision::November2025, json!({})).await;
    let expected: Vec<_> = (0..ITEMS).map(|number| format!("Item {number:05}")).collect();
    let call = json!({
        "name": "items_import",
        "arguments": { "titles": expected, "pause_ms": 5 },
        "_meta": { "progressToken": "import" },
    });
    let deadline = Instant::now() + PATIENCE;

    let mut stream = session.open("tools/call", call).await;
    let mut last = String::new();
    let mut done = -1.0;
    let result = loop {
        assert!(Instant::now() < deadline, "{done} items after {PATIENCE:?}");
        let event = tokio::select! {
            event = next(&mut stream) => event,
            () = deaths.due() => {
                deaths.one(&mut fleet).await;
                continue;
            }
        };
        let Some(event) = event else {
            let anywhere = deaths.random.random_range(0..webs.len());
            stream = session.at(&webs[anywhere]).resume(&last).await;
            continue;
        };
        last = event.id.unwrap_or(last);
        let Some(message) = event.message else { continue };
        if let Some(result) = message.get("result") {
            break result.clone();
        }
        assert!(message.get("error").is_none(), "{message:#}");
        let Some(progress) = message["params"]["progress"].as_f64() else { continue };
        assert!(progress > done, "{progress} after {done}");
        // Progress of 0 says that the job is about to be kept; an instance that dies before makes the
        // call one that was lost.
        if progress > 0.0 && done <= 0.0 {
            deaths.go_on();
        }
        done = progress;
        if deaths.rounds.last().is_some_and(|it| *it <= done) {
            deaths.rounds.pop();
            deaths.all(&mut fleet).await;
        }
    };
    assert!(deaths.rounds.is_empty(), "not everything died at {:?}", deaths.rounds);
    assert_eq!(result["structuredContent"]["created"], ITEMS, "{result:#}");
    let titles = items::titles(fleet.app().db(), &UserId::new("dev:ada")).await.unwrap();
    assert_eq!(titles, expected, "each exactly once");
}

/// The next event. `None` when the stream has ended or has been silent for a while.
async fn next(stream: &mut Stream) -> Option<tests::client::Event> {
    tokio::time::timeout(SILENCE, stream.next()).await.ok().flatten()
}
