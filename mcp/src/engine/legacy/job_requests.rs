//! The requests of a stream that jobs answer, as its reader tracks them.

use futures_util::future;

use crate::{
    caller::Caller,
    engine::{Inner, tasks},
    job::{JobId, Origin},
    store::{StoreError, Subscription, Topic, Writer},
};

/// The unanswered requests of a stream that jobs will answer.
#[derive(Default)]
pub(super) struct JobRequests(Vec<JobRequest>);

/// A request that a job will answer.
struct JobRequest {
    writer: Writer,
    job: JobId,
    /// Set if the worker of the job does not write to this stream: a `tasks/result` request that
    /// waits for a task.
    signals: Option<Subscription>,
}

impl JobRequests {
    /// Replaces the set of requests. Returns whether it has new ones.
    pub(super) fn track(&mut self, jobs: Vec<(Writer, JobId)>) -> bool {
        self.0.retain(|known| jobs.iter().any(|(writer, _)| *writer == known.writer));
        let before = self.0.len();
        for (writer, job) in jobs {
            if !self.0.iter().any(|known| known.writer == writer) {
                self.0.push(JobRequest { writer, job, signals: None });
            }
        }
        self.0.len() > before
    }

    /// Waits for a signal of a job whose worker does not write to the stream. Cancellation safe.
    pub(super) async fn changed(&mut self) {
        let jobs = self.0.iter_mut().filter_map(|request| request.signals.as_mut());
        let jobs: Vec<_> = jobs.map(|signals| Box::pin(signals.recv())).collect();
        if jobs.is_empty() {
            return std::future::pending().await;
        }
        future::select_all(jobs).await;
    }

    /// Appends the missing responses and questions of the jobs to the stream. `may_fail`: whether
    /// the request of a job that does not exist fails; otherwise the job may still be created.
    /// `false`: the state of a job is unknown, because a store is unavailable.
    pub(super) async fn sync(&mut self, engine: &Inner, caller: &Caller, may_fail: bool) -> bool {
        let mut known = true;
        for request in &mut self.0 {
            if let Err(error) = request.sync(engine, caller, may_fail).await {
                tracing::warn!(
                    dependency = error.dependency(), %error,
                    "Could not update a request that a job answers; retrying later"
                );
                known = false;
            }
        }
        known
    }
}

impl JobRequest {
    async fn sync(
        &mut self,
        engine: &Inner,
        caller: &Caller,
        may_fail: bool,
    ) -> Result<(), StoreError> {
        let user = &caller.user;
        match tasks::legacy::sync_request(engine, user, &self.writer, &self.job).await? {
            None if may_fail => tasks::legacy::fail_request(engine, &self.writer).await?,
            Some(job) if self.signals.is_none() && !matches!(job.origin, Origin::Stream { .. }) => {
                let topic = Topic::Job(self.job.clone());
                self.signals = Some(engine.stores.bus.subscribe(topic).await?);
                // The job may have ended before the subscription.
                tasks::legacy::sync_request(engine, user, &self.writer, &self.job).await?;
            }
            _ => {}
        }
        Ok(())
    }
}
