//! The tasks that a listen stream is subscribed to (2026-07-28).

use std::collections::BTreeSet;

use futures_util::{
    future::select_all,
    stream::{self, StreamExt as _, TryStreamExt as _},
};
use serde::Serialize;

use super::wire::{ModernTask, TaskState};
use crate::{
    caller::Caller,
    caller_jobs::JobAccessError,
    engine::{Inner, notifications::SubscriptionMeta},
    job::JobId,
    rpc::{self, RequestId},
    store::{StoreError, Subscription, Topic},
};

/// How many tasks are loaded concurrently when a listen stream starts.
const CONCURRENT_STARTS: usize = 8;

/// The tasks that one listen stream is subscribed to.
pub(in crate::engine) struct FollowedTasks {
    tasks: Vec<Followed>,
}

struct Followed {
    id: JobId,
    signals: Subscription,
    /// Whether the task may have changed since it was last read.
    changed: bool,
    /// The state in the last notification.
    notified: Option<TaskState>,
}

#[derive(Serialize)]
struct TaskNotification<'a> {
    #[serde(flatten)]
    task: ModernTask<'a>,
    #[serde(rename = "_meta")]
    meta: SubscriptionMeta<'a>,
}

impl Followed {
    /// Subscribes to a task. `Ok(None)`: the task does not exist, or the caller may not see it.
    async fn start(
        engine: &Inner,
        caller: &Caller,
        id: &JobId,
    ) -> Result<Option<Self>, StoreError> {
        let Some(access) = &engine.job_access else {
            return Ok(None);
        };
        // Subscribe first, then read, so that no change in between is missed.
        let signals = engine.stores.bus.subscribe(Topic::Job(id.clone())).await?;
        let seen = match access.of(caller).get(id).await {
            Ok(job) => job.is_some(),
            Err(JobAccessError::MissingScope(_)) => false,
            Err(JobAccessError::Unavailable(error)) => return Err(error),
        };
        Ok(seen.then(|| Self { id: id.clone(), signals, changed: true, notified: None }))
    }
}

impl FollowedTasks {
    /// Subscribes to the tasks that the caller may see.
    pub(in crate::engine) async fn start(
        engine: &Inner,
        caller: &Caller,
        ids: &BTreeSet<JobId>,
    ) -> Result<Self, StoreError> {
        // Not a closure: the compiler cannot prove that its future is `Send`.
        let mut starts = Vec::with_capacity(ids.len());
        for id in ids {
            starts.push(Followed::start(engine, caller, id));
        }
        let tasks: Vec<_> = stream::iter(starts).buffered(CONCURRENT_STARTS).try_collect().await?;
        Ok(Self { tasks: tasks.into_iter().flatten().collect() })
    }

    pub(in crate::engine) fn ids(&self) -> BTreeSet<JobId> {
        self.tasks.iter().map(|followed| followed.id.clone()).collect()
    }

    pub(in crate::engine) fn mark_all_changed(&mut self) {
        for followed in &mut self.tasks {
            followed.changed = true;
        }
    }

    /// Waits until a task may have changed. Cancellation safe.
    pub(in crate::engine) async fn changed(&mut self) {
        if self.tasks.is_empty() {
            return std::future::pending().await;
        }
        if self.tasks.iter().any(|it| it.changed) {
            return;
        }
        let signals = self.tasks.iter_mut().map(|followed| Box::pin(followed.signals.recv()));
        let index = select_all(signals).await.1;
        self.tasks[index].changed = true;
    }

    /// Reads the tasks that may have changed and encodes a notification for each that has.
    pub(in crate::engine) async fn notifications(
        &mut self,
        engine: &Inner,
        caller: &Caller,
        subscription: &RequestId,
    ) -> Vec<String> {
        let mut notifications = Vec::new();
        for followed in self.tasks.iter_mut().filter(|it| it.changed) {
            followed.changed = false;
            let Some(jobs) = engine.jobs() else {
                break;
            };
            let job = match jobs.get(&caller.user, &followed.id).await {
                Ok(Some(job)) => job,
                Ok(None) => continue,
                Err(error) => {
                    tracing::warn!(
                        dependency = error.dependency(), %error,
                        "Could not read a task of a listen stream; retrying at its next change"
                    );
                    continue;
                }
            };
            let task = ModernTask::detailed(&job);
            let state = Some(task.state());
            if followed.notified != state {
                followed.notified = state;
                let params = TaskNotification { task, meta: SubscriptionMeta { subscription } };
                notifications.push(rpc::encode_notification("notifications/tasks", Some(&params)));
            }
        }
        notifications
    }
}
