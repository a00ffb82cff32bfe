//! Cancels a job on behalf of its client.

use entity::jobs::Status;
use mcp::{
    Signal, UserId,
    job::{Job, JobId, Origin},
};
use platform::db::{self, Failure, dialect};

use crate::{attempt, convert::later, finish, queue::Queue, read, row};

/// Ends a job and its children at once. The workers that run them are signaled, and their later
/// writes change nothing. Returns a job that has already ended unchanged. `Ok(None)`: this user has
/// no such job.
pub(super) async fn cancel(
    queue: &Queue,
    user: &UserId,
    id: &JobId,
) -> Result<Option<Job>, Failure> {
    const SQL: &str = "UPDATE jobs SET status = 'cancelled', ended_at = $2, updated_at = $2,
        expires_at = CASE WHEN parent_id IS NULL THEN $3 ELSE expires_at END,
        announced = CASE WHEN id = $1 THEN $4 ELSE announced END,
        lease_until = NULL, questions = NULL, arguments = NULL, checkpoint = NULL
        WHERE (id = $1 OR parent_id = $1) AND ended_at IS NULL RETURNING id, tool, worker";
    let now = queue.clock().now();
    let transaction = db::begin(&queue.db_of(user)).await?;
    finish::lock(&transaction, &[id.to_string()].into()).await?;
    let Some(mut row) = read::find(&transaction, user, id).await? else {
        transaction.rollback().await?;
        return Ok(None);
    };
    if row.ended_at.is_some() {
        transaction.rollback().await?;
        return row::job(queue.content_keys(), &row).map(Some);
    }
    let notifies_client = matches!(row::call(&row)?.origin, Origin::Stream { .. });
    let expires_at = later(now, row::duration(row.keep_ms));
    let values = [id.as_str().into(), now.into(), expires_at.into(), (!notifies_client).into()];
    let rows = dialect::rows(&transaction, SQL, values).await?;
    let cancelled = attempt::ids(&rows)?;
    transaction.commit().await?;
    for ended in rows {
        let (tool, worker): (String, Option<String>) =
            (ended.try_get("", "tool")?, ended.try_get("", "worker")?);
        queue.count_job(&tool, "cancelled");
        if worker.is_some() {
            queue.count_attempt(&tool, "cancelled");
        }
    }
    let signals = cancelled.iter().map(|job| Signal::JobCancelled { job: job.clone() });
    queue.changed(signals.collect()).await;
    queue.jobs_changed(cancelled).await;
    row.status = Status::Cancelled;
    row.ended_at = Some(now);
    row.updated_at = now;
    row.expires_at = Some(expires_at);
    row::job(queue.content_keys(), &row).map(Some)
}
