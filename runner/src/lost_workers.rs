//! Reclaims the jobs of workers whose process has ended, long before their leases expire.
//!
//! Every worker subscribes to a topic of its own, and renews its leases every
//! [`RENEWAL_INTERVAL`]. When a process ends, even by `SIGKILL`, the operating system closes its
//! connections, and so its subscription ends. A process that is stopped, busy or cut off from the
//! database keeps its connection to the bus. A worker has therefore ended if, for [`CONFIRMATION`],
//! it renewed no lease **and** its topic had no subscriber whenever this worker looked. Without
//! Redis, a process knows only its own subscriptions: a worker of another process counts as ended
//! once it has been silent for [`CONFIRMATION`].
//!
//! The subscription alone proves nothing: all subscriptions end for a moment when the store
//! restarts. A worker that lost its own subscription does not judge others for the length of a
//! lease, so a restart of the store costs no worker a job, even one that is stopped meanwhile. Nor
//! does it judge while it does not find its own subscription, or while the store does not answer:
//! then jobs are reclaimed when their leases expire.
//!
//! A wrong judgement costs time, and nothing else: the queue rejects writes of earlier attempts.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use mcp::store::Topic;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::{
    queue::{QueueError, RENEWAL_INTERVAL, SilentWorker},
    shared::Shared,
};

/// The interval at which the queue is searched for silent workers.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// How long a worker must be silent, since this worker first found it so. Longer than
/// [`RENEWAL_INTERVAL`], so that a worker that exists has renewed its leases, whatever the clocks
/// say, and long enough for it to connect to a restarted store.
const CONFIRMATION: Duration = RENEWAL_INTERVAL.saturating_add(Duration::from_secs(1));

/// The workers that may have ended, and when each was first found silent.
#[derive(Default)]
struct Suspects(BTreeMap<SilentWorker, Instant>);

/// Announces this worker, and reclaims the jobs of workers that have ended, until `stop`.
pub(crate) async fn watch(shared: Arc<Shared>, stop: CancellationToken) {
    let own = Topic::Worker(shared.settings.name.clone());
    let announced = async {
        loop {
            match shared.bus.subscribe(own.clone()).await {
                Ok(subscription) => return subscription,
                Err(error) => {
                    tracing::warn!(
                        dependency = error.dependency(), error = %error,
                        "Could not announce this worker; retrying. Until then its jobs may be \
                         reclaimed early if it is slow"
                    );
                    sleep(shared.settings.poll).await;
                }
            }
        }
    };
    let watching = async {
        let mut announced = announced.await;
        let mut suspects = Suspects::default();
        let mut look_at = Instant::now() + LOOK_INTERVAL;
        loop {
            tokio::select! {
                biased;
                // No signal is published on this topic, so this is a lost connection.
                _missed = announced.recv() => {
                    suspects = Suspects::default();
                    look_at = Instant::now() + shared.settings.lease;
                }
                () = sleep_until(look_at) => {
                    look_at = Instant::now() + LOOK_INTERVAL;
                    if let Err(error) = suspects.look(&shared, &own).await {
                        suspects = Suspects::default();
                        tracing::debug!(
                            dependency = error.dependency(), error = ?error,
                            "Could not look for workers that have ended; retrying in 1 s"
                        );
                    }
                }
            }
        }
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = watching => {}
    }
}

impl Suspects {
    /// Looks for workers that have ended, and reclaims their jobs. After an error nothing is known.
    async fn look(&mut self, shared: &Shared, own: &Topic) -> Result<(), QueueError> {
        let mut silent =
            shared.queue.silent_workers(shared.settings.lease, RENEWAL_INTERVAL).await?;
        silent.retain(|worker| worker.name != shared.settings.name);
        // A worker that has renewed a lease in the meantime exists.
        self.0.retain(|worker, _| silent.contains(worker));
        if silent.is_empty() {
            return Ok(());
        }
        let topics: Vec<_> = [own.clone()]
            .into_iter()
            .chain(silent.iter().map(|worker| Topic::Worker(worker.name.clone())))
            .collect();
        let listening = shared.bus.have_subscribers(&topics).await;
        let listening = listening.map_err(|error| QueueError::new(error.dependency(), error))?;
        let Some((true, listening)) = listening.split_first() else {
            // This worker is not found either: the answer says nothing about the others.
            self.0.clear();
            return Ok(());
        };
        for (worker, is_listening) in silent.into_iter().zip(listening) {
            if *is_listening {
                self.0.remove(&worker);
                continue;
            }
            let now = Instant::now();
            let since = *self.0.entry(worker.clone()).or_insert(now);
            if now.duration_since(since) >= CONFIRMATION {
                reclaim(shared, &worker).await?;
                self.0.remove(&worker);
            }
        }
        Ok(())
    }
}

async fn reclaim(shared: &Shared, ended: &SilentWorker) -> Result<(), QueueError> {
    let count = shared.queue.reclaim_from(ended).await?;
    if count > 0 {
        tracing::warn!(worker = ended.name, count, "Reclaimed the jobs of a worker that has ended");
    }
    Ok(())
}
