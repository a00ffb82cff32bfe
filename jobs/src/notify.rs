//! Finds jobs whose result or questions must be delivered to a client that holds a stream open.
//!
//! The row records that a notification is pending. The worker that delivers it marks it as
//! delivered afterwards. If that worker dies in between, another one delivers it again: a client is
//! notified at least once, possibly twice, and its stream accepts an answer only once.

use std::time::Duration;

use chrono::TimeDelta;
use entity::jobs::{COLUMN, Column, Entity};
use mcp::job::JobId;
use platform::db::Failure;
use runner::Unnotified;
use sea_orm::{
    ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
    sea_query::Expr,
};

use crate::{lost, queue::Queue, row};

/// The most jobs that one call returns when it searches for overdue notifications.
const BATCH: u64 = 100;

/// Returns jobs with a pending notification: those of `only`, or, for `None`, up to 100 that have
/// been pending for longer than `silence`, because the responsible worker has died.
pub async fn unnotified(
    queue: &Queue,
    only: Option<&[JobId]>,
    silence: Duration,
) -> Result<Vec<Unnotified>, Failure> {
    let select = Entity::without_payload(Entity::find()).filter(COLUMN.announced.eq(false));
    let select = if let Some(ids) = only {
        select.filter(Column::Id.is_in(ids.iter().map(JobId::as_str)))
    } else {
        let silence = TimeDelta::from_std(silence).unwrap_or(TimeDelta::MAX / 4);
        select
            .filter(COLUMN.updated_at.lte(queue.clock().now() - silence))
            .order_by_asc(COLUMN.updated_at)
            .limit(BATCH)
    };
    let mut unnotified = Vec::new();
    for row in select.all(queue.db()).await? {
        if let Some(job) = lost::readable_job(queue, &row).await {
            unnotified.push(Unnotified { job, attempt: row::count(row.attempt) });
        }
    }
    Ok(unnotified)
}

/// Records that a client was notified. Changes nothing if the job has moved on since.
pub async fn mark_notified(queue: &Queue, notified: &Unnotified) -> Result<(), Failure> {
    Entity::update_many()
        .col_expr(Column::Announced, Expr::value(true))
        .filter(Column::Id.eq(notified.job.id.as_str()))
        .filter(Column::Attempt.eq(i32::try_from(notified.attempt).unwrap_or(i32::MAX)))
        .filter(Column::Status.eq(row::stored_status(notified.job.status)))
        .exec(queue.db())
        .await?;
    Ok(())
}
