//! The network link between one process and the simulated queue, as the engine and as the runner of
//! jobs use it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use mcp::{
    ClientAnswer, StoreError, UserId,
    job::{Job, JobId, JobPage, Jobs, NewJob, NotEnqueued, Progress},
};
use runner::{
    CheckpointError, Claim, Claimed, End, Finished, Lease, QueueError, SilentWorker, Turn,
    Unnotified, WorkQueue,
};
use serde_json::Value;

use super::{
    link::{self, Target},
    node::{EffectStore, Node},
    queue::{Changed, Queue},
    store::Store,
};

/// The link of one process.
pub(super) struct QueueLink {
    node: Arc<Node>,
    store: Arc<Store>,
    queue: Arc<Queue>,
}

impl QueueLink {
    pub(super) fn new(node: &Arc<Node>, store: &Arc<Store>, queue: &Arc<Queue>) -> Arc<Self> {
        Arc::new(Self {
            node: Arc::clone(node),
            store: Arc::clone(store),
            queue: Arc::clone(queue),
        })
    }

    /// The time by the clock of this process, in milliseconds.
    fn now(&self) -> u64 {
        self.node.clock_millis()
    }

    async fn operation<T>(
        &self,
        name: &'static str,
        effect: impl FnOnce() -> Changed<T>,
    ) -> Result<T, StoreError> {
        let effect = async {
            let (result, signals) = effect();
            // Signals are published after the commit. Without the store they are lost.
            if !self.store.is_down() {
                for signal in &signals {
                    self.store.publish(signal);
                }
            }
            Ok(result)
        };
        link::operation(&self.node, &self.store, Target::Database, name, effect).await
    }

    async fn read<T>(&self, name: &'static str, read: impl FnOnce() -> T) -> Result<T, StoreError> {
        self.operation(name, || (read(), Vec::new())).await
    }
}

fn queue_error(error: StoreError) -> QueueError {
    QueueError::new(error.dependency(), error)
}

#[async_trait]
impl Jobs for QueueLink {
    async fn enqueue(&self, job: NewJob) -> Result<Job, NotEnqueued> {
        self.operation("enqueue", || self.queue.enqueue(job, self.now())).await?
    }

    async fn get(&self, user: &UserId, id: &JobId) -> Result<Option<Job>, StoreError> {
        self.read("get job", || self.queue.get(user, id)).await
    }

    async fn list_of_tools(
        &self,
        user: &UserId,
        _: Option<&[&str]>,
        _: Option<&str>,
        max: usize,
    ) -> Result<Option<JobPage>, StoreError> {
        let list = || {
            let jobs = self.queue.list(user).into_iter().take(max).collect();
            Some(JobPage { jobs, next: None })
        };
        self.read("list jobs", list).await
    }

    async fn find_unfinished(
        &self,
        user: &UserId,
        tool: &str,
        arguments: &Value,
    ) -> Result<Option<Job>, StoreError> {
        self.read("find job", || self.queue.find_unfinished(user, tool, arguments)).await
    }

    async fn answer(
        &self,
        user: &UserId,
        id: &JobId,
        answers: BTreeMap<String, ClientAnswer>,
    ) -> Result<Option<Job>, StoreError> {
        let answer = || self.queue.answer(user, id, answers, self.now());
        self.operation("answer job", answer).await
    }

    async fn cancel(&self, user: &UserId, id: &JobId) -> Result<Option<Job>, StoreError> {
        self.operation("cancel job", || self.queue.cancel(user, id, self.now())).await
    }
}

#[async_trait]
impl WorkQueue for QueueLink {
    async fn claim(&self, _: &mut Turn, claim: Claim<'_>) -> Result<Vec<Claimed>, QueueError> {
        let claiming = || self.queue.claim(&claim, self.now());
        self.read("claim", claiming).await.map_err(queue_error)
    }

    async fn renew(
        &self,
        attempts: &[(JobId, u32)],
        lease: Duration,
    ) -> Result<BTreeSet<(JobId, u32)>, QueueError> {
        let renew = || self.queue.renew(attempts, lease, self.now());
        self.read("renew leases", renew).await.map_err(queue_error)
    }

    async fn silent_workers(
        &self,
        lease: Duration,
        silence: Duration,
    ) -> Result<Vec<SilentWorker>, QueueError> {
        let find = || self.queue.silent_workers(lease, silence, self.now());
        self.read("silent workers", find).await.map_err(queue_error)
    }

    async fn reclaim_from(&self, worker: &SilentWorker) -> Result<u64, QueueError> {
        let reclaim = || self.queue.reclaim_from(worker, self.now());
        self.operation("reclaim from", reclaim).await.map_err(queue_error)
    }

    async fn end_denied(&self, _: Vec<JobId>) -> Result<Vec<JobId>, QueueError> {
        Ok(Vec::new())
    }

    async fn record_progress(&self, attempts: &[(JobId, u32, Progress)]) -> Result<(), QueueError> {
        let record = || ((), self.queue.record_progress(attempts));
        self.operation("record progress", record).await.map_err(queue_error)
    }

    async fn checkpoint(
        &self,
        job: &JobId,
        attempt: u32,
        state: &Value,
    ) -> Result<(), CheckpointError> {
        let stored = self.read("checkpoint", || self.queue.checkpoint(job, attempt, state, None));
        match stored.await {
            Ok(true) => Ok(()),
            Ok(false) => Err(CheckpointError::Superseded),
            Err(error) => Err(queue_error(error).into()),
        }
    }

    async fn finish(&self, ends: &[(Lease, End)]) -> Result<Finished, QueueError> {
        let finish = || self.queue.finish(ends, self.now());
        self.operation("finish", finish).await.map_err(queue_error)
    }

    async fn unnotified(
        &self,
        only: Option<&[JobId]>,
        silence: Duration,
    ) -> Result<Vec<Unnotified>, QueueError> {
        let find = || self.queue.unnotified(only, silence, self.now());
        self.read("unnotified", find).await.map_err(queue_error)
    }

    async fn mark_notified(&self, notified: &Unnotified) -> Result<(), QueueError> {
        let mark = || self.queue.mark_notified(notified);
        self.read("mark notified", mark).await.map_err(queue_error)
    }
}

impl QueueLink {
    /// Requeues the jobs whose lease has expired, as a schedule does.
    pub(super) async fn reclaim(&self) -> Result<(), StoreError> {
        self.operation("reclaim", || ((), self.queue.reclaim(self.now()))).await
    }
}

#[async_trait]
impl EffectStore for QueueLink {
    async fn effect(
        &self,
        (job, attempt): (&JobId, u32),
        state: &Value,
        effect: (&str, &str),
    ) -> Result<bool, StoreError> {
        let store = || self.queue.checkpoint(job, attempt, state, Some(effect));
        self.read("effect", store).await
    }
}
