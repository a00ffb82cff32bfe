//! Renews the leases of running jobs, and stops the jobs that this worker may not run any more.

use std::{collections::BTreeSet, sync::Arc};

use mcp::AccessCheck as _;
use service::{
    jobs::{self, DeniedJobs, RENEWALS_PER_LEASE},
    oauth::revoked,
};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::{running::Key, shared::Shared};

/// Ends the jobs that run here and whose access was ended.
async fn end_denied(shared: &Shared, ours: BTreeSet<Key>) {
    let these = DeniedJobs::These(ours.into_iter().map(|(job, _)| job).collect());
    match jobs::end_denied(&shared.service, &these).await {
        Ok(ended) => ended.iter().for_each(|job| shared.running.lost(job)),
        Err(error) => {
            tracing::warn!(
                dependency = error.dependency(), error = ?error,
                "Could not check the access of running jobs: {error}"
            );
        }
    }
}

/// Renews the leases as soon as a person's access was ended, which finds the jobs to be ended.
pub(crate) async fn watch_access(shared: Arc<Shared>, stop: CancellationToken) {
    let mut changes = shared.service.revoked().changes();
    let following = revoked::follow(&shared.service, |_grant| {});
    let renewing = async {
        while changes.changed().await.is_ok() {
            shared.running.renew_soon();
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = following => {}
        () = renewing => {}
    }
}

/// Renews the leases of all jobs by one statement, until `stop`. Stops the jobs that are not ours
/// any more, and all of them when nothing could be renewed for as long as a lease lasts.
pub(crate) async fn renew(shared: Arc<Shared>, stop: CancellationToken) {
    let pause = shared.settings.lease / RENEWALS_PER_LEASE;
    let mut renewed_at = Instant::now();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(pause) => {}
            () = shared.running.renewal() => {}
        }
        let attempts = shared.running.attempts();
        if attempts.is_empty() {
            renewed_at = Instant::now();
            continue;
        }
        match jobs::renew(&shared.service, &attempts, shared.settings.lease).await {
            Ok(ours) => {
                renewed_at = Instant::now();
                for lost in attempts.iter().filter(|it| !ours.contains(it)) {
                    shared.running.lost_attempt(lost);
                }
                end_denied(&shared, ours).await;
            }
            Err(error) => {
                tracing::warn!(
                    dependency = error.dependency(), error = ?error,
                    "The leases of jobs were not renewed: {error}"
                );
                if renewed_at.elapsed() > shared.settings.lease {
                    for lost in &attempts {
                        shared.running.lost_attempt(lost);
                    }
                }
            }
        }
    }
}
