//! What happens to the instances and to Redis: one thing after the other, so that two instances of
//! three are there most of the time, as a platform would have it.

use std::{sync::atomic::Ordering, time::Duration};

use rand::{RngExt as _, rngs::StdRng};
use tokio::time::{Instant, sleep};

use super::World;
use crate::processes::{Fleet, Signal};

/// Something that happens.
#[derive(Clone, Copy)]
enum Event {
    Kill,
    Sleep,
    Drain,
    CutRedis,
    PauseRedis,
    RestartRedis,
    ForgetRedis,
}

/// Each with how often it happens, compared to the others.
const EVENTS: [(Event, u32); 7] = [
    (Event::Kill, 8),
    (Event::Sleep, 4),
    (Event::Drain, 3),
    (Event::CutRedis, 4),
    (Event::PauseRedis, 2),
    (Event::RestartRedis, 2),
    (Event::ForgetRedis, 1),
];

/// Lets one thing after the other happen until `end`; then everything is whole again.
pub(super) async fn rage(fleet: &mut Fleet, world: &World, mut random: StdRng, end: Instant) {
    while Instant::now() < end {
        pause(&mut random, 200..1_200).await;
        let event = choose(&mut random);
        let instance = random.random_range(0..fleet.len());
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
                // Sometimes longer than the lease of its calls, which are taken over then.
                let longest = if random.random_bool(0.3) { 9_000 } else { 1_500 };
                pause(&mut random, 100..longest).await;
                fleet.instance(instance).signal(Signal::CONT);
            }
            Event::Drain => {
                world.tally.count("instances drained");
                fleet.drain(instance).await;
                fleet.start_again(instance).await;
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
                // Before and after: whoever looks in between is excused as well.
                world.forgotten.fetch_add(1, Ordering::SeqCst);
                fleet.redis().forget_everything().await;
                world.forgotten.fetch_add(1, Ordering::SeqCst);
            }
        }
    }
}

fn choose(random: &mut StdRng) -> Event {
    let all: u32 = EVENTS.iter().map(|it| it.1).sum();
    let mut left = random.random_range(0..all);
    for (event, weight) in EVENTS {
        match left.checked_sub(weight) {
            None => return event,
            Some(rest) => left = rest,
        }
    }
    unreachable!("the weights add up")
}

#[expect(clippy::disallowed_methods, reason = "the weather waits for nothing")]
pub(super) async fn pause(random: &mut StdRng, millis: std::ops::Range<u64>) {
    sleep(Duration::from_millis(random.random_range(millis))).await;
}
