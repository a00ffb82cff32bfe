//! Answers of the client to a job that requires input.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use entity::jobs::{Column, Entity, Status};
use mcp::{
    ClientAnswer, UserId,
    job::{Job, JobId},
};
use platform::db::{self, Failure};
use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _, sea_query::Expr};

use crate::{
    content::{Content, is_lost},
    lost,
    queue::Queue,
    read, row,
};

/// Stores answers to open questions; the last one queues the job. Answers to other questions are
/// ignored. `Ok(None)`: this user has no such job.
pub(super) async fn answer(
    queue: &Queue,
    user: &UserId,
    id: &JobId,
    answers: BTreeMap<String, ClientAnswer>,
) -> Result<Option<Job>, Failure> {
    let now = queue.clock().now();
    let transaction = db::begin(&queue.db_of(user)).await?;
    super::finish::lock(&transaction, &[id.to_string()].into()).await?;
    let Some(mut row) = read::find(&transaction, user, id).await? else {
        transaction.rollback().await?;
        return Ok(None);
    };
    let keys = queue.content_keys();
    let mut open = match row::open_questions(keys, &row) {
        Err(error) if is_lost(&error) => {
            transaction.rollback().await?;
            return lost::job(queue, &row).await.map(Some);
        }
        open => open?,
    };
    let accepted: BTreeMap<_, _> =
        answers.into_iter().filter(|(key, _)| open.contains_key(key)).collect();
    if accepted.is_empty() {
        // Rolled back explicitly: until the rollback the row is locked, and claims skip it.
        transaction.rollback().await?;
        return row::job(keys, &row).map(Some);
    }
    open.retain(|key, _| !accepted.contains_key(key));
    let complete = open.is_empty();
    let mut all = row::answers(keys, &row)?;
    all.extend(accepted);

    row.answers = Some(Content::of_job(keys, id).encode(Column::Answers, &all)?);
    row.updated_at = now;
    let mut update = Entity::update_many()
        .col_expr(Column::Answers, Expr::value(row.answers.clone()))
        .col_expr(Column::UpdatedAt, Expr::value(now))
        .filter(Column::Id.eq(id.as_str()));
    if complete {
        row.status = Status::Queued;
        update = update
            .col_expr(Column::Status, Expr::value(Status::Queued))
            .col_expr(Column::Questions, Expr::value(None::<String>))
            .col_expr(Column::LeaseUntil, Expr::value(None::<DateTime<Utc>>))
            // A pending notification about the questions is obsolete.
            .col_expr(Column::Announced, Expr::value(true))
            .col_expr(Column::RunAt, Expr::value(now));
    }
    update.exec(&transaction).await?;
    transaction.commit().await?;

    queue.jobs_changed([id.clone()]).await;
    if complete {
        queue.job_queued().await;
    }
    row::job(keys, &row).map(Some)
}
