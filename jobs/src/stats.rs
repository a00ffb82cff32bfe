//! The state of the queue, for operators.

use std::time::Duration;

use platform::db::{Failure, dialect};

use crate::queue::Queue;

/// The state of the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Jobs that are due or become due later.
    pub queued: u64,
    /// Jobs that run in a worker.
    pub running: u64,
    /// Jobs that wait for their children.
    pub waiting: u64,
    /// Jobs that wait for their client.
    pub input_required: u64,
    /// How long the longest-waiting due job has been due. More than a few seconds means that there
    /// are too few workers, or none.
    pub oldest_due: Duration,
}

/// Counts unfinished jobs.
pub async fn stats(queue: &Queue) -> Result<Stats, Failure> {
    const COUNTS: &str =
        "SELECT status, count(*) AS jobs FROM jobs WHERE ended_at IS NULL GROUP BY status";
    const OLDEST: &str =
        "SELECT min(run_at) AS run_at FROM jobs WHERE status = 'queued' AND run_at <= $1";
    let mut stats = Stats::default();
    for row in dialect::rows(queue.db(), COUNTS, []).await? {
        let jobs: i64 = row.try_get("", "jobs")?;
        let jobs = u64::try_from(jobs).unwrap_or(0);
        match row.try_get::<String>("", "status")?.as_str() {
            "queued" => stats.queued = jobs,
            "running" => stats.running = jobs,
            "waiting" => stats.waiting = jobs,
            _ => stats.input_required = jobs,
        }
    }
    let now = queue.clock().now();
    let oldest = dialect::rows(queue.db(), OLDEST, [now.into()]).await?;
    if let Some(row) = oldest.first()
        && let Some(run_at) = row.try_get::<Option<chrono::DateTime<chrono::Utc>>>("", "run_at")?
    {
        stats.oldest_due = (now - run_at).to_std().unwrap_or_default();
    }
    Ok(stats)
}
