//! Finds workers that have not renewed their leases, and reclaims their jobs before the leases
//! expire. The runner decides whether such a worker has ended.

use std::time::Duration;

use chrono::{DateTime, Utc};
use platform::db::{Failure, dialect};
use runner::{ANNOUNCED_PREFIX, SilentWorker};

use crate::{
    convert::{internal, later},
    queue::Queue,
    reclaim::reclaim_batch,
};

/// The maximum number of workers that one call finds.
const MAX_WORKERS: i64 = 100;

/// Finds workers with running jobs whose leases were not renewed for `silence`. Reads a range of an
/// index that is usually empty.
pub(super) async fn silent_workers(
    queue: &Queue,
    lease: Duration,
    silence: Duration,
) -> Result<Vec<SilentWorker>, Failure> {
    // The clauses on the range come first; `worker` has no index.
    const SQL: &str = "SELECT worker, max(lease_until) AS lease_until FROM jobs
        WHERE lease_until <= $1 AND status = 'running' AND worker LIKE $2
        GROUP BY worker ORDER BY worker LIMIT $3";
    let until = later(queue.clock().now(), lease.saturating_sub(silence));
    let values = [until.into(), format!("{ANNOUNCED_PREFIX}%").into(), MAX_WORKERS.into()];
    let rows = dialect::rows(queue.db(), SQL, values).await?;
    let workers = rows.iter().map(|row| {
        let lease_until: DateTime<Utc> = row.try_get("", "lease_until")?;
        // Rounded up, since the database may store fractions of a millisecond.
        let lease_until = lease_until.timestamp_millis().saturating_add(1);
        Ok(SilentWorker { name: row.try_get("", "worker")?, lease_until })
    });
    workers.collect()
}

/// Ends the leases that a worker has not renewed since it was found silent, and reclaims these jobs.
/// Returns their number, or that of all jobs with an expired lease if there are more.
///
/// Not atomic: a worker that renews its leases in between keeps its jobs.
pub(super) async fn reclaim_from(queue: &Queue, worker: &SilentWorker) -> Result<u64, Failure> {
    // In the order of ids like all statements that lock several jobs, to avoid deadlocks. A row that
    // is locked now is found again by the next search.
    let sql = format!(
        "UPDATE jobs SET lease_until = $3 WHERE id IN (SELECT id FROM jobs
            WHERE lease_until <= $2 AND lease_until > $3 AND status = 'running' AND worker = $1
            ORDER BY id {})",
        dialect::for_update_skip_locked(queue.db().get_database_backend()),
    );
    let lease_until = DateTime::from_timestamp_millis(worker.lease_until)
        .ok_or_else(|| internal(anyhow::anyhow!("the end of a lease is out of range")))?;
    let now = queue.clock().now();
    let values = [worker.name.as_str().into(), lease_until.into(), now.into()];
    let mut left = dialect::written(queue.db(), sql, values).await?;
    let mut count = 0;
    while left > 0 {
        let reclaimed = reclaim_batch(queue).await?;
        if reclaimed == 0 {
            break; // another worker reclaims them
        }
        count += reclaimed;
        left = left.saturating_sub(reclaimed);
    }
    Ok(count)
}
