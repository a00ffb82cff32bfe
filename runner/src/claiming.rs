//! Claims jobs from the queue, as many as there are free slots.
//!
//! A worker wakes up on a signal or when a slot becomes free; without either it polls every
//! [`Settings::poll`](crate::Settings). While there are more jobs than slots, it waits until
//! several slots are free, so that one claim fills them all.

use std::{sync::Arc, time::Duration};

use mcp::{
    Signal,
    store::{Received, Topic},
};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    attempt,
    observer::ClaimFound,
    queue::{Claim, End, QueueError, Turn},
    shared::Shared,
};

/// How long slots may stay free while a busy worker waits for more of them. Much shorter than any
/// job that is worth running in a worker.
const GATHER_TIMEOUT: Duration = Duration::from_millis(5);

/// Pause after a failed claim, usually because the database is unavailable.
const FAILURE_PAUSE: Duration = Duration::from_millis(500);

/// How long a stopping worker waits for a claim in progress.
const CLAIM_GRACE: Duration = Duration::from_secs(2);

/// Claims and runs jobs until `shutdown`.
pub(crate) async fn claim(shared: &Arc<Shared>, shutdown: &CancellationToken) {
    let mut turn = Turn::default();
    loop {
        if shutdown.is_cancelled() {
            return;
        }
        // A claim in progress is awaited: the jobs that it has claimed would wait until their
        // leases expire.
        let claiming = claim_once(shared, &mut turn, shutdown);
        let mut claiming = std::pin::pin!(claiming);
        let found = tokio::select! {
            biased;
            found = &mut claiming => found,
            () = shutdown.cancelled() => match timeout(CLAIM_GRACE, &mut claiming).await {
                Ok(found) => found,
                Err(_) => return, // the database did not respond; leases of claimed jobs expire
            },
        };
        let pause = async {
            match found {
                // There may be more jobs, but claiming for one slot at a time would be inefficient.
                Ok(ClaimResult::Full) => shared.running.gather_slots(GATHER_TIMEOUT).await,
                Ok(ClaimResult::Some) => {}
                Ok(ClaimResult::Empty) => tokio::select! {
                    biased;
                    () = shared.running.woken() => {}
                    () = sleep(shared.settings.poll) => {}
                },
                Ok(ClaimResult::NoSlots) => tokio::select! {
                    biased;
                    () = shared.running.slot_freed() => {}
                    () = sleep(shared.settings.poll) => {}
                },
                Ok(ClaimResult::NoIdleOwners) => tokio::select! {
                    biased;
                    () = shared.running.woken() => {}
                    () = shared.running.slot_freed() => {}
                    () = sleep(shared.settings.poll) => {}
                },
                Err(error) => {
                    tracing::warn!(
                        dependency = error.dependency(), error = ?error,
                        "Could not claim jobs; retrying"
                    );
                    sleep(FAILURE_PAUSE).await;
                }
            }
        };
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            () = pause => {}
        }
    }
}

/// The result of an attempt to claim jobs.
enum ClaimResult {
    /// The queue has no claimable job.
    Empty,
    /// The queue has no job for owners without a running job here, for whom the last slots are
    /// reserved.
    NoIdleOwners,
    /// Fewer jobs than free slots.
    Some,
    /// As many jobs as free slots.
    Full,
    /// All slots are occupied, so the queue was not queried.
    NoSlots,
}

async fn claim_once(
    shared: &Arc<Shared>,
    turn: &mut Turn,
    shutdown: &CancellationToken,
) -> Result<ClaimResult, QueueError> {
    let Some(free) = shared.running.free_slots() else {
        // All slots are occupied by running jobs: the worker is healthy.
        shared.observer.works();
        return Ok(ClaimResult::NoSlots);
    };
    let request = Claim {
        worker: &shared.settings.name,
        max: free.slots,
        lease: shared.settings.lease,
        excluded_owners: free.excluded_owners.as_deref(),
    };
    shared.running.claim_started();
    let claimed = shared.queue.claim(turn, request).await;
    shared.observer.claimed(match &claimed {
        Ok(claimed) if claimed.is_empty() => ClaimFound::Nothing,
        Ok(_) => ClaimFound::Some,
        Err(_) => ClaimFound::NoAnswer,
    });
    let claimed = claimed?;
    shared.observer.works();
    if shutdown.is_cancelled() {
        // None of them has started, so another worker can claim them at once.
        let ends: Vec<_> =
            claimed.into_iter().map(|claimed| (claimed.lease, End::Released)).collect();
        shared.queue.finish(&ends).await?;
        return Ok(ClaimResult::Empty);
    }
    let found = match (claimed.len(), request.excluded_owners) {
        (0, None) => ClaimResult::Empty,
        (0, Some(_)) => ClaimResult::NoIdleOwners,
        (some, _) if some >= usize::try_from(free.slots).unwrap_or(usize::MAX) => ClaimResult::Full,
        _ => ClaimResult::Some,
    };
    if !claimed.is_empty() {
        for claimed in claimed {
            attempt::start(shared, claimed);
        }
        shared.running.claim_finished();
    }
    Ok(found)
}

/// Listens for new jobs and for cancelled jobs.
pub(crate) async fn listen(shared: Arc<Shared>, stop: CancellationToken) {
    loop {
        let mut signals = match shared.bus.subscribe(Topic::Work).await {
            Ok(signals) => signals,
            Err(error) => {
                tracing::warn!(
                    dependency = error.dependency(), error = %error,
                    "Could not subscribe to job signals; polling, and retrying"
                );
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    () = sleep(shared.settings.poll) => continue,
                }
            }
        };
        // Earlier cancellations are found when the leases are renewed.
        shared.running.renew_soon();
        loop {
            let signal = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                signal = signals.recv() => signal,
            };
            match signal {
                Received::Signal(Signal::JobCancelled { job }) => shared.running.stop_lost(&job),
                Received::Signal(_) => shared.running.wake(),
                // A missed cancellation is found when the leases are renewed.
                Received::Missed => {
                    shared.running.wake();
                    shared.running.renew_soon();
                }
            }
        }
    }
}
