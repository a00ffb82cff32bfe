//! Schedules: one of several workers executes a run.

use futures_util::future::join_all;
use tests::Idle;
use tokio_util::sync::CancellationToken;
use worker::schedules::{self, RunOutcome};

use super::*;

on_both!(of_several_workers_one_runs_a_tick, every_schedule_runs);

async fn of_several_workers_one_runs_a_tick(world: World) {
    let schedule = schedules::find(&tests::fixtures::product(), "lost-jobs").unwrap();
    let workers = [world.another().await, world.another().await, world.another().await];
    let go = CancellationToken::new();
    for lost in 0..5 {
        for n in 0..=lost {
            enqueue(&world.app, new_job(&user(&format!("p{n}")))).await;
        }
        claim(&world.app, 10).await;
        world.clock.advance(LEASE);
        let ticks =
            join_all(workers.iter().map(|it| schedules::run_if_due(&schedule, it, &Idle, &go)))
                .await;
        let ran: Vec<_> = ticks.iter().filter(|it| **it != RunOutcome::Elsewhere).collect();
        assert_eq!(ran, [&RunOutcome::Ran(lost + 1)], "once, for all");
        for claimed in claim(&world.app, 10).await {
            assert!(settle(&world.app, &claimed.lease, End::Answered(text("done"))).await);
        }
    }
}

async fn every_schedule_runs(world: World) {
    let go = CancellationToken::new();
    for schedule in schedules::all(&tests::fixtures::product()) {
        schedules::run_now(&schedule, &world.app, &Idle, &go).await.expect(schedule.name);
    }
}

#[test]
fn every_clean_up_has_a_schedule() {
    let read = |path: &str| {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
        std::fs::read_to_string(path).unwrap()
    };
    let schedules = read("worker/src/schedules.rs");
    for (module, path) in [("sweep", "oauth/src/sweep.rs"), ("jobs::sweep", "jobs/src/sweep.rs")] {
        let source = read(path);
        let verbs: Vec<_> = source
            .lines()
            .filter_map(|it| it.strip_prefix("pub async fn ")?.split_once('('))
            .map(|(verb, _)| format!("sweeping!(app => {module}::{verb}("))
            .collect();
        assert!(!verbs.is_empty(), "{path} has verbs");
        for verb in verbs {
            assert!(schedules.contains(&verb), "nobody runs {verb}…)");
        }
    }
}
