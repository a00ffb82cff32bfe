//! Renews the leases of running jobs, and stops jobs that this worker must not continue.

use std::{collections::BTreeSet, sync::Arc};

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    queue::{RENEWAL_INTERVAL, RENEWALS_PER_LEASE},
    running::Key,
    shared::Shared,
};

/// Ends the running jobs whose access was revoked.
async fn end_denied(shared: &Shared, held: BTreeSet<Key>) {
    let jobs = held.into_iter().map(|(job, _)| job).collect();
    match shared.queue.end_denied(jobs).await {
        Ok(ended) => ended.iter().for_each(|job| shared.running.stop_lost(job)),
        Err(error) => {
            tracing::warn!(
                dependency = error.dependency(), error = ?error,
                "Could not check the access of running jobs; retrying at the next renewal"
            );
        }
    }
}

/// Renews the leases of all jobs with one statement, until `stop`. Stops the jobs whose leases this
/// worker has lost, and all jobs if no renewal has succeeded for the duration of a lease.
pub(crate) async fn renew(shared: Arc<Shared>, stop: CancellationToken) {
    let pause = RENEWAL_INTERVAL.min(shared.settings.lease / RENEWALS_PER_LEASE);
    let mut renewed_at = Instant::now();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = sleep(pause) => {}
            () = shared.running.renewal_requested() => {}
        }
        let attempts = shared.running.attempts();
        if attempts.is_empty() {
            renewed_at = Instant::now();
            continue;
        }
        match shared.queue.renew(&attempts, shared.settings.lease).await {
            Ok(held) => {
                renewed_at = Instant::now();
                for lost in attempts.iter().filter(|attempt| !held.contains(attempt)) {
                    shared.running.stop_lost_attempt(lost);
                }
                end_denied(&shared, held).await;
            }
            Err(error) => {
                tracing::warn!(
                    dependency = error.dependency(), error = ?error,
                    "Could not renew the leases of jobs; retrying"
                );
                if renewed_at.elapsed() > shared.settings.lease {
                    for lost in &attempts {
                        shared.running.stop_lost_attempt(lost);
                    }
                }
            }
        }
    }
}
