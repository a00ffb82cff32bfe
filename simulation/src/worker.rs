//! A worker: the real runner of jobs over the simulated queue, and the schedules that it runs.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use mcp::{
    Engine, StoreError,
    job::{Attempt, AttemptEnd, AttemptStore, Job},
};
use runner::{ANNOUNCED_PREFIX, ClaimFound, End, Observer, Parts, Runner, Settings, Work};
use tokio_util::sync::CancellationToken;

use super::{
    node::{Node, Phase},
    process::Process,
    queue_link::QueueLink,
    world::pass,
};

/// The interval of the schedules, in milliseconds.
const SCHEDULE: u64 = 10_000;

/// The lease of a claimed job.
const LEASE: Duration = Duration::from_secs(30);

/// A worker.
#[derive(Clone)]
pub(super) struct Worker {
    pub(super) node: Arc<Node>,
    shutdown: CancellationToken,
}

impl Worker {
    /// Starts a worker.
    pub(super) fn start(process: Process) -> Self {
        let Process { node, engine, bus, queue } = process;
        let shutdown = CancellationToken::new();
        let simulated = Arc::new(SimulatedRunner { node: Arc::clone(&node), engine });
        let work = Work::new(Parts {
            queue: Arc::clone(&queue) as _,
            bus,
            runner: Arc::clone(&simulated) as _,
            observer: Arc::new(Unobserved),
            settings: Settings {
                name: format!("{ANNOUNCED_PREFIX}{}", node.name),
                concurrency: 4,
                lease: LEASE,
                poll: Duration::from_secs(2),
                finish_timeout: Duration::from_secs(3),
                release_timeout: Duration::from_secs(3),
                close_timeout: Duration::from_secs(3),
            },
        });
        let stop = shutdown.clone();
        node.run(async move { work.run(&stop).await });
        node.run(schedules(queue, simulated, shutdown.clone()));
        Self { node, shutdown }
    }

    /// Asks the worker to shut down.
    pub(super) fn shut_down(&self) {
        self.node.world.note(|| format!("{} shuts down", self.node.name));
        self.shutdown.cancel();
    }
}

/// Runs the schedules `lost-jobs` and `untold-clients`.
async fn schedules(
    queue: Arc<QueueLink>,
    runner: Arc<SimulatedRunner>,
    shutdown: CancellationToken,
) {
    let running = async {
        while runner.node.phase() != Phase::Dead {
            pass(SCHEDULE / 2).await;
            drop(queue.reclaim().await);
            pass(SCHEDULE / 2).await;
            drop(runner::notify_some(&*queue, &*runner, None).await);
        }
    };
    tokio::select! {
        biased;
        () = shutdown.cancelled() => {}
        () = running => {}
    }
}

/// Runs jobs in the engine of a simulated process.
struct SimulatedRunner {
    node: Arc<Node>,
    engine: Engine,
}

#[async_trait]
impl Runner for SimulatedRunner {
    async fn run(
        &self,
        attempt: Attempt,
        store: Arc<dyn AttemptStore>,
        stop: CancellationToken,
    ) -> AttemptEnd {
        let running = Box::pin(self.engine.run_job(attempt, store, stop));
        match self.node.bound(running).await {
            Some(end) => end,
            None => std::future::pending().await, // the process has died
        }
    }

    async fn notify_client(&self, job: &Job) -> Result<(), StoreError> {
        self.engine.notify_client(job).await
    }
}

struct Unobserved;

impl Observer for Unobserved {
    fn claimed(&self, _: ClaimFound) {}

    fn works(&self) {}

    fn attempt_started(&self, _: Duration) -> Box<dyn Send + Sync> {
        Box::new(())
    }

    fn attempt_ended(&self, _: &str, _: Option<&End>, _: Duration) {}
}
