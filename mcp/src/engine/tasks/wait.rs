//! Waiting for a job with the client's response open: for modern clients without tasks, and for
//! legacy ones that take no stream.

use std::{sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use tokio::time::{Instant, sleep_until};

use super::{messages::detached, stream::cancel};
use crate::{
    call::Outlet,
    caller::UserId,
    engine::Inner,
    job::{Job, JobId},
    store::{Received, Signal, StoreError, Subscription, Topic},
    types::CallToolResult,
};

/// How often somebody who waits for a job looks at it, in case a signal was lost.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// How long before the token expires the client is told that the job goes on without this response:
/// long enough that it still arrives, as times of expiry are in whole seconds.
const FAREWELL: Duration = Duration::from_secs(1);

/// How waiting ended.
pub(in crate::engine) enum WaitEnd {
    /// The job has ended.
    Ended(Job),
    /// The job asks the client.
    InputRequired(Job),
    /// The job goes on without this response, which says so.
    Detached(CallToolResult),
}

/// Somebody waits for a job.
pub(in crate::engine) struct JobWait {
    engine: Arc<Inner>,
    user: UserId,
    id: JobId,
    signals: Subscription,
    /// How much progress the client has seen.
    progress: Option<f64>,
    /// Until when the client waits at most: shortly before its token expires.
    expires: Instant,
    /// Whether the job is cancelled when nobody waits any more.
    cancels: bool,
}

impl JobWait {
    /// Begins to listen, before the job exists or is looked at. `cancels`: whether dropping this
    /// cancels the job.
    pub(in crate::engine) async fn begin(
        engine: &Arc<Inner>,
        user: &UserId,
        id: &JobId,
        lasts: Duration,
        cancels: bool,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            signals: engine.stores.bus.subscribe(Topic::Job(id.clone())).await?,
            engine: Arc::clone(engine),
            user: user.clone(),
            id: id.clone(),
            progress: None,
            expires: Instant::now() + lasts.saturating_sub(FAREWELL),
            cancels,
        })
    }

    /// Notes progress that the client has seen already.
    pub(in crate::engine) fn has_seen(&mut self, progress: f64) {
        self.progress = Some(progress);
    }

    /// Waits no more, and lets the job be.
    pub(in crate::engine) fn forget(mut self) {
        self.cancels = false;
    }

    /// Waits, and passes on what the job says to the client.
    pub(in crate::engine) async fn wait(mut self, mut job: Job, outlet: &dyn Outlet) -> WaitEnd {
        loop {
            if job.status.is_final() || !job.questions.is_empty() {
                self.cancels = false;
                // What was said before the end was committed is here already.
                while let Some(received) = self.signals.recv().now_or_never() {
                    self.pass_on(received, Some(outlet)).await;
                }
                return if job.status.is_final() {
                    WaitEnd::Ended(job)
                } else {
                    WaitEnd::InputRequired(job)
                };
            }
            job = match self.change(Instant::now() + LOOK_AGAIN, Some(outlet)).await {
                Ok(Some(job)) => job,
                Ok(None) => {
                    self.cancels = false;
                    let gone = "The job is no longer known.".to_owned();
                    return WaitEnd::Detached(CallToolResult::error(gone));
                }
                Err(why) => {
                    self.cancels = false;
                    return WaitEnd::Detached(detached(&self.engine, &self.id, why));
                }
            };
        }
    }

    /// Waits for nothing but the end, with a client that takes no stream: it can be told nothing
    /// before, and asked nothing. Nothing if there is no such job, and why, if it goes on without
    /// this response.
    pub(in crate::engine) async fn wait_for_end(mut self) -> Result<Option<Job>, &'static str> {
        // It may have ended before somebody listened.
        let mut look = Instant::now();
        loop {
            match self.change(look, None).await? {
                Some(job) if !job.status.is_final() => look = Instant::now() + LOOK_AGAIN,
                ended => return Ok(ended),
            }
        }
    }

    /// Waits until the job may have changed, but not longer than until `look`, and looks at it.
    async fn change(
        &mut self,
        mut look: Instant,
        outlet: Option<&dyn Outlet>,
    ) -> Result<Option<Job>, &'static str> {
        loop {
            tokio::select! {
                received = self.signals.recv() => {
                    if self.pass_on(received, outlet).await {
                        continue;
                    }
                }
                () = sleep_until(look) => {}
                () = self.engine.drain.cancelled() => {
                    return Err("The server that held this connection is being replaced.");
                }
                () = sleep_until(self.expires) => return Err("The access token is about to expire."),
            }
            let Some(jobs) = self.engine.jobs() else {
                return Ok(None);
            };
            match jobs.get(&self.user, &self.id).await {
                Ok(found) => return Ok(found),
                Err(error) => {
                    tracing::warn!(
                        dependency = error.dependency(), error = %error,
                        "A job cannot be looked at: {error}"
                    );
                    look = Instant::now() + LOOK_AGAIN;
                }
            }
        }
    }

    /// Passes a message of the job on to the client, if that takes any. False if it is none.
    async fn pass_on(&mut self, received: Received, outlet: Option<&dyn Outlet>) -> bool {
        let Received::Signal(Signal::JobMessage { progress, message, .. }) = received else {
            return false;
        };
        let Some(outlet) = outlet else {
            return true;
        };
        match progress {
            // A worker that has lost the job may still talk.
            Some(done) if self.progress.is_some_and(|last| done <= last) => {}
            Some(done) => {
                self.progress = Some(done);
                outlet.progress(done, message).await;
            }
            None => outlet.send(message).await,
        }
        true
    }
}

impl Drop for JobWait {
    /// The client has gone. Not so if the instance goes, or the token expires: then the client may
    /// come back for it.
    fn drop(&mut self) {
        let was_left = self.engine.drain.is_cancelled() || Instant::now() >= self.expires;
        if !self.cancels || was_left {
            return;
        }
        let (engine, user, id) = (Arc::clone(&self.engine), self.user.clone(), self.id.clone());
        self.engine.busy.spawn(async move { cancel(&engine, &user, &id).await });
    }
}
