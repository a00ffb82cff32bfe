//! Following revocations in an instance or a worker.

use std::{fmt, time::Duration};

use chrono::DateTime;
use entity::{GrantId, Kid};
use mcp::{
    Signal,
    store::{Received, Subscription, Topic},
};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::POLL_EVERY;
use crate::{login::allow_list, server::Server};

/// How often the signing keys are reloaded and rotated.
const KEEP_UP_EVERY: Duration = Duration::from_secs(5);

/// How often the list of allowed users is enforced: see [`allow_list`].
const ENFORCE_LIST_EVERY: Duration = Duration::from_mins(1);

/// The minimum time between two log messages about failures.
const WARN_EVERY: Duration = Duration::from_mins(1);

/// Keeps the revocations and the signing keys of an instance or a worker up to date, and calls
/// `revoked` once for every revoked grant. Cutoffs and revoked keys also wake tasks that wait for
/// [`mcp::AccessCheck::changes`]. Never returns: drop the future to stop.
///
/// Only one call per service polls. Another one, such as that of the worker in an embedded program,
/// waits until the first is dropped, since both would read the same rows.
pub async fn follow(server: &Server, revoked: impl Fn(GrantId)) {
    let _polling = server.revoked().0.following.lock().await;
    let mut ticks = interval(POLL_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut signals = None;
    let mut following = Following { server, warned_at: None, kept_up_at: None, enforced_at: None };
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                if signals.is_none() {
                    signals = following.listen().await;
                }
                following.catch_up(&revoked).await;
                following.keep_up().await;
            }
            received = next(&mut signals) => match received {
                Received::Signal(Signal::Revoked { grant }) => {
                    if let Ok(grant) = grant.parse()
                        && server.revoked().insert_notified(grant)
                    {
                        revoked(grant);
                    }
                }
                Received::Signal(Signal::CutOff { user, at }) => {
                    if let Some(at) = DateTime::from_timestamp_micros(at) {
                        server.revoked().cut_off(user, at);
                    }
                }
                Received::Signal(Signal::KeyRevoked { key }) => {
                    server.revoked().distrust(Kid(key));
                    following.read_keys().await;
                }
                Received::Signal(_) => {}
                Received::Missed => following.catch_up(&revoked).await,
            },
        }
    }
}

/// The state of one call of [`follow`].
struct Following<'a> {
    server: &'a Server,
    /// When a failure was last logged.
    warned_at: Option<Instant>,
    kept_up_at: Option<Instant>,
    enforced_at: Option<Instant>,
}

impl Following<'_> {
    async fn catch_up(&mut self, revoked: &impl Fn(GrantId)) {
        match self.server.revoked().poll_for_all().await {
            Ok(news) => {
                news.grants.into_iter().for_each(revoked);
                if news.keys {
                    self.read_keys().await;
                }
            }
            Err(error) => self.warn("Could not read revocations; retrying in 1 s", &error),
        }
    }

    /// Reloads the signing keys every [`KEEP_UP_EVERY`], and enforces the list of allowed users
    /// every [`ENFORCE_LIST_EVERY`].
    async fn keep_up(&mut self) {
        if self.kept_up_at.is_some_and(|at| at.elapsed() < KEEP_UP_EVERY) {
            return;
        }
        self.kept_up_at = Some(Instant::now());
        self.read_keys().await;
        if self.enforced_at.is_some_and(|at| at.elapsed() < ENFORCE_LIST_EVERY) {
            return;
        }
        match allow_list::enforce(self.server).await {
            Ok(allow_list::BATCH) => {} // there may be more
            Ok(_fewer) => self.enforced_at = Some(Instant::now()),
            Err(error) => self.warn("Could not end the access of unlisted users", &error),
        }
    }

    /// Reloads the signing keys, so that a revoked key no longer signs, and performs the rotation
    /// steps that are due.
    async fn read_keys(&mut self) {
        if let Err(error) = self.server.keys().keep_up().await {
            self.warn("Could not reload or rotate the signing keys", &error);
        }
    }

    async fn listen(&mut self) -> Option<Subscription> {
        match self.server.bus().subscribe(Topic::Control).await {
            Ok(subscription) => Some(subscription),
            Err(error) => {
                self.warn("Could not subscribe to revocations; only polling for them", &error);
                None
            }
        }
    }

    /// Logs a failure, at most once per [`WARN_EVERY`].
    fn warn(&mut self, what: &str, error: &impl fmt::Debug) {
        if self.warned_at.is_none_or(|at| at.elapsed() >= WARN_EVERY) {
            self.warned_at = Some(Instant::now());
            tracing::warn!(error = ?error, "{what}");
        }
    }
}

async fn next(signals: &mut Option<Subscription>) -> Received {
    match signals {
        Some(signals) => signals.recv().await,
        None => std::future::pending().await,
    }
}
