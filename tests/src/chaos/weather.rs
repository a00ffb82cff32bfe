//! The faults of the instances, the workers, Redis and the database. They are injected one at a time, so
//! that two of three instances and one of two workers run most of the time, as on a platform. The order is
//! random, the frequency of each fault is fixed.

use std::{sync::atomic::Ordering, time::Duration};

use rand::{RngExt as _, rngs::StdRng, seq::SliceRandom as _};
use tokio::time::{Instant, sleep};

use super::World;
use crate::processes::{Fleet, Signal};

/// A fault.
#[derive(Clone, Copy)]
enum Event {
    Kill,
    Sleep,
    Drain,
    KillWorker,
    SleepWorker,
    DrainWorker,
    CutRedis,
    PauseRedis,
    RestartRedis,
    ForgetRedis,
    CutDatabase,
    LoseDatabase,
}

/// Each fault with its number in one round.
const EVENTS: [(Event, usize); 12] = [
    (Event::Kill, 5),
    (Event::Sleep, 2),
    (Event::Drain, 2),
    (Event::KillWorker, 4),
    (Event::SleepWorker, 2),
    (Event::DrainWorker, 2),
    (Event::CutRedis, 3),
    (Event::PauseRedis, 1),
    (Event::RestartRedis, 1),
    (Event::ForgetRedis, 1),
    (Event::CutDatabase, 4),
    (Event::LoseDatabase, 2),
];

/// Injects one fault at a time until `end`, then restores everything.
pub(super) async fn rage(fleet: &mut Fleet, world: &World, mut random: StdRng, end: Instant) {
    let mut round = Vec::new();
    let mut sleeper = Sleeper::default();
    while Instant::now() < end {
        if round.is_empty() {
            round = EVENTS.iter().flat_map(|&(it, times)| std::iter::repeat_n(it, times)).collect();
            round.shuffle(&mut random);
        }
        let Some(event) = round.pop() else { return };
        pause(&mut random, 100..800).await;
        sleeper.wake_if_due(fleet);
        let instance = random.random_range(0..fleet.len());
        let worker = random.random_range(0..fleet.workers());
        match event {
            Event::Kill => {
                world.tally.count("instances killed");
                fleet.kill(instance).await;
                pause(&mut random, 0..800).await;
                fleet.start_again(instance).await;
            }
            Event::Sleep => {
                world.tally.count("instances stopped for a while");
                fleet.instance(instance).signal(Signal::STOP);
                // Sometimes longer than the lease of its calls, which are then taken over.
                let longest = if random.random_bool(0.3) { 9_000 } else { 1_500 };
                pause(&mut random, 100..longest).await;
                fleet.instance(instance).signal(Signal::CONT);
            }
            Event::Drain => {
                world.tally.count("instances drained");
                fleet.drain(instance).await;
                fleet.start_again(instance).await;
            }
            Event::KillWorker => {
                world.tally.count("workers killed");
                sleeper.wake(fleet);
                fleet.kill_worker(worker).await;
                pause(&mut random, 0..800).await;
                fleet.start_worker_again(worker).await;
            }
            Event::SleepWorker => {
                world.tally.count("workers stopped for a while");
                sleeper.wake(fleet);
                sleeper.send_to_sleep(fleet, worker, &mut random);
            }
            Event::DrainWorker => {
                world.tally.count("workers drained");
                sleeper.wake(fleet);
                fleet.drain_worker(worker).await;
                fleet.start_worker_again(worker).await;
            }
            Event::CutRedis => {
                world.tally.count("connections to Redis cut");
                fleet.redis().cut_connections().await;
            }
            Event::PauseRedis => {
                world.tally.count("Redis paused");
                fleet.redis().pause();
                pause(&mut random, 100..3_000).await;
                fleet.redis().go_on();
            }
            Event::RestartRedis => {
                world.tally.count("Redis killed and restarted");
                fleet.redis().kill().await;
                pause(&mut random, 0..1_500).await;
                fleet.redis().start_again().await;
            }
            Event::ForgetRedis => {
                world.tally.count("Redis lost its data");
                // Before and after, so that requests in between are excused as well.
                world.forgotten.fetch_add(1, Ordering::SeqCst);
                fleet.redis().forget_everything().await;
                world.forgotten.fetch_add(1, Ordering::SeqCst);
            }
            Event::CutDatabase => {
                world.tally.count("connections to the database ended");
                fleet.end_database_connections().await;
            }
            Event::LoseDatabase => {
                world.tally.count("database away for a while");
                fleet.database().cut();
                // Sometimes longer than every timeout.
                let longest = if random.random_bool(0.3) { 9_000 } else { 2_000 };
                pause(&mut random, 100..longest).await;
                fleet.database().mend();
            }
        }
    }
    sleeper.wake(fleet);
}

/// Stops a worker during other faults, mostly for longer than the leases of its jobs, so that they have
/// been reclaimed when it continues.
#[derive(Default)]
struct Sleeper(Option<(usize, Instant)>);

impl Sleeper {
    fn send_to_sleep(&mut self, fleet: &mut Fleet, worker: usize, random: &mut StdRng) {
        fleet.worker(worker).signal(Signal::STOP);
        let until = Instant::now() + Duration::from_millis(random.random_range(500..12_000));
        self.0 = Some((worker, until));
    }

    fn wake_if_due(&mut self, fleet: &mut Fleet) {
        if self.0.is_some_and(|(_, until)| Instant::now() >= until) {
            self.wake(fleet);
        }
    }

    fn wake(&mut self, fleet: &mut Fleet) {
        if let Some((worker, _)) = self.0.take() {
            fleet.worker(worker).signal(Signal::CONT);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the weather waits for nothing")]
pub(super) async fn pause(random: &mut StdRng, millis: std::ops::Range<u64>) {
    sleep(Duration::from_millis(random.random_range(millis))).await;
}
