//! Waiting for a job while the HTTP response is open: for modern clients without tasks, and for
//! legacy clients that do not accept event streams.

use std::{sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use tokio::time::{Instant, sleep_until};

use super::{messages::detached, stream::cancel};
use crate::{
    call::Outlet,
    caller::UserId,
    engine::Inner,
    job::{Job, JobId},
    store::{Received, Signal, Subscription, Topic},
    types::CallToolResult,
};

/// The interval at which a job is read while waiting, in case a signal was lost.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// The interval at which a job is read while there is no subscription to its signals.
const UNSIGNALED_POLL_INTERVAL: Duration = Duration::from_secs(1);

/// How long before the expiry of the access token waiting ends. Long enough for the response to
/// arrive in time, since expiry times are in whole seconds.
const EXPIRY_MARGIN: Duration = Duration::from_secs(1);

/// How waiting ended.
pub(in crate::engine) enum WaitEnd {
    /// The job has ended.
    Ended(Job),
    /// The job asks the client questions.
    InputRequired(Job),
    /// The job continues without this response; the result says so.
    Detached(CallToolResult),
}

/// A client that waits for a job.
pub(in crate::engine) struct JobWait {
    engine: Arc<Inner>,
    user: UserId,
    id: JobId,
    /// `None`: the bus is unavailable. The job is polled, and subscribing is tried again before each
    /// read.
    signals: Option<Subscription>,
    /// The last progress sent to the client.
    progress: Option<f64>,
    /// When waiting ends: shortly before the access token expires.
    expires: Instant,
    /// Whether dropping this cancels the job.
    cancels: bool,
}

impl JobWait {
    /// Subscribes to the job; call before it is created or read. Without the bus the job is polled
    /// instead. `until_expiry`: time until the access token expires. `cancels`: whether dropping
    /// this cancels the job.
    pub(in crate::engine) async fn begin(
        engine: &Arc<Inner>,
        user: &UserId,
        id: &JobId,
        until_expiry: Duration,
        cancels: bool,
    ) -> Self {
        let mut waiting = Self {
            signals: None,
            engine: Arc::clone(engine),
            user: user.clone(),
            id: id.clone(),
            progress: None,
            expires: Instant::now() + until_expiry.saturating_sub(EXPIRY_MARGIN),
            cancels: false,
        };
        waiting.subscribe().await;
        // Only now: a request that is dropped while it subscribes has not created its job yet.
        waiting.cancels = cancels;
        waiting
    }

    /// Subscribes to the job, if that has not succeeded yet.
    async fn subscribe(&mut self) {
        if self.signals.is_some() {
            return;
        }
        match self.engine.stores.bus.subscribe(Topic::Job(self.id.clone())).await {
            Ok(signals) => self.signals = Some(signals),
            Err(error) => {
                tracing::warn!(
                    dependency = error.dependency(), %error,
                    "Could not subscribe to the signals of a job; polling, and retrying"
                );
            }
        }
    }

    /// The latest time of the next read.
    fn next_poll(&self) -> Instant {
        let is_signaled = self.signals.is_some();
        Instant::now() + if is_signaled { POLL_INTERVAL } else { UNSIGNALED_POLL_INTERVAL }
    }

    /// Records progress that was sent to the client already.
    pub(in crate::engine) fn has_seen(&mut self, progress: f64) {
        self.progress = Some(progress);
    }

    /// Stops waiting without cancelling the job.
    pub(in crate::engine) fn forget(mut self) {
        self.cancels = false;
    }

    /// Waits until the job ends or asks questions, and forwards its messages to the client.
    pub(in crate::engine) async fn wait(mut self, mut job: Job, outlet: &dyn Outlet) -> WaitEnd {
        loop {
            if job.status.is_final() || !job.questions.is_empty() {
                self.cancels = false;
                // Messages published before the end was committed have been received already.
                while let Some(received) = next_signal(&mut self.signals).now_or_never() {
                    self.forward(received, Some(outlet)).await;
                }
                return if job.status.is_final() {
                    WaitEnd::Ended(job)
                } else {
                    WaitEnd::InputRequired(job)
                };
            }
            job = match self.next_change(self.next_poll(), Some(outlet)).await {
                Ok(Some(job)) => job,
                Ok(None) => {
                    self.cancels = false;
                    let text = "The job no longer exists.";
                    return WaitEnd::Detached(CallToolResult::error(text));
                }
                Err(why) => {
                    self.cancels = false;
                    return WaitEnd::Detached(detached(&self.engine, &self.id, why));
                }
            };
        }
    }

    /// Waits for the job to finish, for clients that do not accept event streams (no progress, no
    /// questions). `Ok(None)`: no such job. The error says why the job continues without this
    /// response.
    pub(in crate::engine) async fn wait_for_end(mut self) -> Result<Option<Job>, &'static str> {
        // The job may have ended before the subscription.
        let mut poll_at = Instant::now();
        loop {
            match self.next_change(poll_at, None).await? {
                Some(job) if !job.status.is_final() => poll_at = self.next_poll(),
                ended => return Ok(ended),
            }
        }
    }

    /// Waits until the job may have changed, at most until `poll_at`, and reads it.
    async fn next_change(
        &mut self,
        mut poll_at: Instant,
        outlet: Option<&dyn Outlet>,
    ) -> Result<Option<Job>, &'static str> {
        loop {
            // The rare ones first: many messages must not delay them.
            tokio::select! {
                biased;
                () = self.engine.drain.cancelled() => {
                    return Err("The server that held this connection is being replaced.");
                }
                () = sleep_until(self.expires) => {
                    return Err("The access token is about to expire.");
                }
                received = next_signal(&mut self.signals) => {
                    if self.forward(received, outlet).await {
                        continue;
                    }
                }
                () = sleep_until(poll_at) => {}
            }
            self.subscribe().await; // before reading, so that no change in between is missed
            let Some(jobs) = self.engine.jobs() else {
                return Ok(None);
            };
            match jobs.get(&self.user, &self.id).await {
                Ok(found) => return Ok(found),
                Err(error) => {
                    tracing::warn!(
                        dependency = error.dependency(), %error,
                        "Could not read a job while waiting for it; retrying"
                    );
                    poll_at = self.next_poll();
                }
            }
        }
    }

    /// Forwards a message of the job to the client, if it accepts messages. `false`: the signal is
    /// not a message.
    async fn forward(&mut self, received: Received, outlet: Option<&dyn Outlet>) -> bool {
        let Received::Signal(Signal::JobMessage { progress, message, .. }) = received else {
            return false;
        };
        let Some(outlet) = outlet else {
            return true;
        };
        match progress {
            // A worker that has lost the job may still send progress.
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

/// Waits for the next signal; forever without a subscription.
async fn next_signal(signals: &mut Option<Subscription>) -> Received {
    match signals {
        Some(signals) => signals.recv().await,
        None => std::future::pending().await,
    }
}

impl Drop for JobWait {
    /// Cancels the job, because the client has disconnected. Not when the instance shuts down or
    /// the token expires: then the client may ask for the result later.
    fn drop(&mut self) {
        let is_detached = self.engine.drain.is_cancelled() || Instant::now() >= self.expires;
        if !self.cancels || is_detached {
            return;
        }
        let (engine, user, id) = (Arc::clone(&self.engine), self.user.clone(), self.id.clone());
        self.engine.spawn(async move { cancel(&engine, &user, &id).await });
    }
}
