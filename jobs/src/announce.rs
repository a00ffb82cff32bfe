//! Telling clients that do not ask: those whose call is a stream.
//!
//! The row says that somebody has to be told. Whoever does so marks it afterwards, so that a worker
//! that dies in between is followed by another one, and a client may be told twice but never not at
//! all; the stream takes an answer once.

use std::time::Duration;

use chrono::TimeDelta;
use entity::jobs::{COLUMN, Column, Entity, Status};
use mcp::job::{Job, JobId};
use platform::db::Failure;
use sea_orm::{
    ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
    sea_query::Expr,
};

use crate::{queue::Queue, row};

/// The most that one call gives.
const BATCH: u64 = 100;

/// A job whose client has to be told how it stands.
#[derive(Clone, Debug)]
pub struct Unannounced {
    /// How it stands.
    pub job: Job,
    attempt: i32,
    status: Status,
}

/// Jobs whose clients have to be told: these, or any that have waited for longer than `silence`,
/// because whoever should have told is gone.
pub async fn unannounced(
    queue: &Queue,
    only: Option<&[JobId]>,
    silence: Duration,
) -> Result<Vec<Unannounced>, Failure> {
    let select = Entity::outside(Entity::find()).filter(COLUMN.announced.eq(false));
    let select = if let Some(ids) = only {
        select.filter(Column::Id.is_in(ids.iter().map(JobId::as_str)))
    } else {
        let silence = TimeDelta::from_std(silence).unwrap_or(TimeDelta::MAX / 4);
        select
            .filter(COLUMN.updated_at.lte(queue.clock().now() - silence))
            .order_by_asc(COLUMN.updated_at)
            .limit(BATCH)
    };
    let rows = select.all(queue.db()).await?;
    let jobs = rows.iter().filter_map(|it| {
        Some(Unannounced { job: row::readable_job(it)?, attempt: it.attempt, status: it.status })
    });
    Ok(jobs.collect())
}

/// Marks that a client was told. Does nothing if the job has gone on since.
pub async fn mark_announced(queue: &Queue, told: &Unannounced) -> Result<(), Failure> {
    Entity::update_many()
        .col_expr(Column::Announced, Expr::value(true))
        .filter(Column::Id.eq(told.job.id.as_str()))
        .filter(Column::Attempt.eq(told.attempt))
        .filter(Column::Status.eq(told.status))
        .exec(queue.db())
        .await?;
    Ok(())
}
