//! Takes jobs from the queue, as many as there are places for.
//!
//! A worker is woken by a signal, or by a place that became free; without either it looks after
//! [`Settings::poll`](crate::Settings). While there is more to do than it has places for, it waits
//! until several are free, so that one claim fills them all.

use std::{sync::Arc, time::Duration};

use mcp::{
    Signal,
    store::{Received, Topic},
};
use service::{
    db::Failure,
    jobs::{self, Claim, End, Turn},
    metrics,
};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::{attempt, shared::Shared};

/// How long places may stay empty while a busy worker waits for more of them. Much shorter than a
/// job that is worth running in a worker.
const LINGER: Duration = Duration::from_millis(5);

/// The pause after a claim that failed. The database is away, and does not come back faster if it
/// is asked more often.
const AFTER_FAILURE: Duration = Duration::from_millis(500);

/// How long a worker that is told to end waits for the claim that it has begun.
const CLAIM_GRACE: Duration = Duration::from_secs(2);

/// Claims and runs jobs until `shutdown`.
pub(crate) async fn claim(shared: &Arc<Shared>, shutdown: &CancellationToken) {
    let mut turn = Turn::default();
    loop {
        if shutdown.is_cancelled() {
            return;
        }
        // A claim that was begun is waited for: what it has taken would run nowhere until the lease
        // ends.
        let claiming = claim_once(shared, &mut turn, shutdown);
        let mut claiming = std::pin::pin!(claiming);
        let found = tokio::select! {
            found = &mut claiming => found,
            () = shutdown.cancelled() => match timeout(CLAIM_GRACE, &mut claiming).await {
                Ok(found) => found,
                Err(_) => return, // the database is away, and so has given nothing
            },
        };
        let pause = async {
            match found {
                // There may be more, but a claim for one place at a time would be a waste.
                Ok(Found::Full) => shared.running.gather_room(LINGER).await,
                Ok(Found::Some) => {}
                Ok(Found::Nothing) => tokio::select! {
                    () = shared.running.woken() => {}
                    () = sleep(shared.settings.poll) => {}
                },
                Ok(Found::NoRoom) => tokio::select! {
                    () = shared.running.room() => {}
                    () = sleep(shared.settings.poll) => {}
                },
                Ok(Found::NoNewcomers) => tokio::select! {
                    () = shared.running.woken() => {}
                    () = shared.running.room() => {}
                    () = sleep(shared.settings.poll) => {}
                },
                Err(error) => {
                    tracing::warn!(
                        dependency = error.dependency(), error = ?error,
                        "Jobs could not be claimed: {error}"
                    );
                    sleep(AFTER_FAILURE).await;
                }
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = pause => {}
        }
    }
}

/// What a look at the queue has brought.
enum Found {
    /// Nothing, for anybody.
    Nothing,
    /// Nothing for those few whom the last places are kept for.
    NoNewcomers,
    /// Something.
    Some,
    /// As much as there were places for.
    Full,
    /// It was not looked at: all places are taken.
    NoRoom,
}

async fn claim_once(
    shared: &Arc<Shared>,
    turn: &mut Turn,
    shutdown: &CancellationToken,
) -> Result<Found, Failure> {
    let Some(room) = shared.running.free() else {
        // All places are taken by jobs that run, which is as well as can be.
        shared.pulse.beat();
        return Ok(Found::NoRoom);
    };
    let what = Claim {
        worker: &shared.settings.name,
        max: room.places,
        lease: shared.settings.lease,
        newcomers_only: room.newcomers_only.as_deref(),
    };
    shared.running.claims();
    let claimed = jobs::claim(&shared.service, turn, what).await;
    metrics::WORKER_CLAIMS.count([match &claimed {
        Ok(claimed) if claimed.is_empty() => "nothing",
        Ok(_) => "some",
        Err(_) => "no_answer",
    }]);
    let claimed = claimed?;
    shared.pulse.beat();
    if shutdown.is_cancelled() {
        // None of them has begun, so another worker takes them at once.
        let ends: Vec<_> = claimed.into_iter().map(|it| (it.lease, End::Released)).collect();
        jobs::settle(&shared.service, &ends).await?;
        return Ok(Found::Nothing);
    }
    let found = match (claimed.len(), what.newcomers_only) {
        (0, None) => Found::Nothing,
        (0, Some(_)) => Found::NoNewcomers,
        (some, _) if some >= usize::try_from(room.places).unwrap_or(usize::MAX) => Found::Full,
        _ => Found::Some,
    };
    if !claimed.is_empty() {
        for claimed in claimed {
            attempt::start(shared, claimed);
        }
        shared.running.claimed();
    }
    Ok(found)
}

/// Hears that there are jobs, and that jobs were cancelled.
pub(crate) async fn hear(shared: Arc<Shared>, stop: CancellationToken) {
    loop {
        let mut signals = match shared.service.listen(Topic::Work).await {
            Ok(signals) => signals,
            Err(error) => {
                tracing::warn!(
                    dependency = error.dependency(), error = %error,
                    "The worker polls, since it hears nothing: {error}"
                );
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = sleep(shared.settings.poll) => continue,
                }
            }
        };
        // What was cancelled before is found when leases are renewed.
        shared.running.renew_soon();
        loop {
            let heard = tokio::select! {
                () = stop.cancelled() => return,
                heard = signals.recv() => heard,
            };
            match heard {
                Received::Signal(Signal::JobCancelled { job }) => shared.running.lost(&job),
                Received::Signal(_) => shared.running.wake(),
                // A cancellation that was missed is found when leases are renewed.
                Received::Missed => {
                    shared.running.wake();
                    shared.running.renew_soon();
                }
            }
        }
    }
}
