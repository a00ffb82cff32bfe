//! Schedules: of several workers one runs a tick.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::join_all;
use mcp::{
    StoreError,
    job::{Attempt, AttemptEnd, Notebook},
};
use tokio_util::sync::CancellationToken;
use worker::{
    Runner,
    schedules::{self, Tick},
};

use super::*;

on_both!(of_several_workers_one_runs_a_tick, every_schedule_runs);

/// Runs nothing, and tells everybody.
struct Idle;

#[async_trait]
impl Runner for Idle {
    async fn run(&self, _: Attempt, _: Arc<dyn Notebook>, _: CancellationToken) -> AttemptEnd {
        AttemptEnd::Stopped
    }

    async fn announce(&self, _: &Job) -> Result<(), StoreError> {
        Ok(())
    }
}

async fn of_several_workers_one_runs_a_tick(world: World) {
    let schedule = schedules::find("lost-jobs").unwrap();
    let workers = [world.another().await, world.another().await, world.another().await];
    let go = CancellationToken::new();
    for lost in 0..5 {
        for n in 0..=lost {
            enqueue(&world.service, new_job(&user(&format!("p{n}")))).await;
        }
        claim(&world.service, 10).await;
        world.clock.advance(LEASE);
        let ticks = join_all(workers.iter().map(|it| schedule.tick(it, &Idle, &go))).await;
        let ran: Vec<_> = ticks.iter().filter(|it| **it != Tick::Elsewhere).collect();
        assert_eq!(ran, [&Tick::Ran(lost + 1)], "once, for all");
        for claimed in claim(&world.service, 10).await {
            assert!(settle(&world.service, &claimed.lease, End::Answered(text("done"))).await);
        }
    }
}

async fn every_schedule_runs(world: World) {
    let go = CancellationToken::new();
    for schedule in schedules::ALL {
        schedule.run(&world.service, &Idle, &go).await.expect(schedule.name);
    }
}
