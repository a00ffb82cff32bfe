//! Jobs whose content cannot be decrypted: its key is unknown to this process, or the row is damaged.
//!
//! They fail at once. To wait for a process that has the key would delay the client for hours, and
//! usually in vain: a change of the key in two steps leaves no such moment.

use entity::jobs::{Column, Entity, Model, Status};
use mcp::job::{Job, JobStatus};
use platform::db::Failure;
use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _};

use crate::{content::LOST_CONTENT, failed::failed, queue::Queue, row};

/// Converts a row to the engine's type. Fails the job in the database if it waits for its client, but
/// its questions or answers cannot be decrypted.
pub(crate) async fn job(queue: &Queue, row: &Model) -> Result<Job, Failure> {
    let job = row::job(queue.content_keys(), row)?;
    if row.status == Status::InputRequired && job.status == JobStatus::Failed {
        end_waiting(queue, row).await?;
    }
    Ok(job)
}

/// Converts a row, for lists, which must not fail because of one unreadable job. `None`: this
/// version cannot read the job, and has logged that.
pub(crate) async fn readable_job(queue: &Queue, row: &Model) -> Option<Job> {
    let job = job(queue, row).await.inspect_err(|error| {
        tracing::error!(
            dependency = error.dependency(), error = ?error, job = row.id,
            "Could not read a job; it is left out"
        );
    });
    job.ok()
}

/// Fails a job that waits for its client, unless it has moved on. Such a job is no child.
async fn end_waiting(queue: &Queue, row: &Model) -> Result<(), Failure> {
    let now = queue.clock().now();
    let ended = Entity::update_many()
        .filter(Column::Id.eq(row.id.as_str()))
        .filter(Column::Attempt.eq(row.attempt))
        .filter(Column::Status.eq(Status::InputRequired));
    let ended = failed(queue.content_keys(), now, ended, row, LOST_CONTENT)?;
    if ended.exec(queue.db()).await?.rows_affected > 0 {
        queue.count_job(&row.tool, "failed");
        queue.jobs_changed([row::id(row)?]).await;
    }
    Ok(())
}
