//! The tasks that a listen stream follows (2026-07-28).

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

/// How many tasks a listen stream looks at together when it begins.
const AT_ONCE: usize = 8;

/// The tasks that one listen stream follows (2026-07-28).
pub(in crate::engine) struct FollowedTasks {
    tasks: Vec<Followed>,
}

struct Followed {
    id: JobId,
    signals: Subscription,
    /// Whether it may have changed since somebody looked.
    changed: bool,
    /// What the client was told last.
    told: Option<TaskState>,
}

#[derive(Serialize)]
struct TaskNotification<'a> {
    #[serde(flatten)]
    task: ModernTask<'a>,
    #[serde(rename = "_meta")]
    meta: SubscriptionMeta<'a>,
}

impl Followed {
    /// Nothing if the caller may not see it.
    async fn start(
        engine: &Inner,
        caller: &Caller,
        id: &JobId,
    ) -> Result<Option<Self>, StoreError> {
        let Some(access) = &engine.job_access else {
            return Ok(None);
        };
        // First listen, then look: whatever changes in between is heard.
        let signals = engine.stores.bus.subscribe(Topic::Job(id.clone())).await?;
        let seen = match access.of(caller).get(id).await {
            Ok(job) => job.is_some(),
            Err(JobAccessError::MissingScope(_)) => false,
            Err(JobAccessError::Unavailable(error)) => return Err(error),
        };
        Ok(seen.then(|| Self { id: id.clone(), signals, changed: true, told: None }))
    }
}

impl FollowedTasks {
    /// Begins to listen to those that the caller may see.
    pub(in crate::engine) async fn start(
        engine: &Inner,
        caller: &Caller,
        ids: &BTreeSet<JobId>,
    ) -> Result<Self, StoreError> {
        // No closure: the compiler could not tell that the future of the request may move.
        let mut starts = Vec::with_capacity(ids.len());
        for id in ids {
            starts.push(Followed::start(engine, caller, id));
        }
        let tasks: Vec<_> = stream::iter(starts).buffered(AT_ONCE).try_collect().await?;
        Ok(Self { tasks: tasks.into_iter().flatten().collect() })
    }

    pub(in crate::engine) fn ids(&self) -> BTreeSet<JobId> {
        self.tasks.iter().map(|it| it.id.clone()).collect()
    }

    pub(in crate::engine) fn look_again(&mut self) {
        for followed in &mut self.tasks {
            followed.changed = true;
        }
    }

    /// Waits until something may have changed. Safe to cancel.
    pub(in crate::engine) async fn changed(&mut self) {
        if self.tasks.is_empty() {
            return std::future::pending().await;
        }
        if self.tasks.iter().any(|it| it.changed) {
            return;
        }
        let signals = self.tasks.iter_mut().map(|it| Box::pin(it.signals.recv()));
        let index = select_all(signals).await.1;
        self.tasks[index].changed = true;
    }

    /// What there is to tell.
    pub(in crate::engine) async fn news(
        &mut self,
        engine: &Inner,
        caller: &Caller,
        subscription: &RequestId,
    ) -> Vec<String> {
        let mut news = Vec::new();
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
                        dependency = error.dependency(), error = %error,
                        "A task cannot be looked at: {error}"
                    );
                    continue;
                }
            };
            let task = ModernTask::detailed(&job);
            let state = Some(task.state());
            if followed.told != state {
                followed.told = state;
                let params = TaskNotification { task, meta: SubscriptionMeta { subscription } };
                news.push(rpc::encode_notification("notifications/tasks", Some(&params)));
            }
        }
        news
    }
}
