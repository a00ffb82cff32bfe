//! Reclaims jobs whose lease has expired, and fails jobs whose questions were not answered in time.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use entity::jobs::{Column, Entity, Model, Status};
use mcp::{ContentKeys, job::JobId};
use platform::db::{self, Failure, dialect};
use sea_orm::{
    ColumnTrait as _, ConnectionTrait, EntityTrait as _, FromQueryResult as _, QueryFilter as _,
    sea_query::Expr,
};

use crate::{content::Content, failed::failed, finish, queue::Queue, row};

/// The most jobs that one call reclaims: few enough that other statements are not delayed.
const BATCH: i64 = 200;

/// The result of a job whose worker was lost at every attempt, for the model.
const LOST: &str = "The job's worker was lost at every attempt, so the job was given up. It may be \
    too large: ask for less at once.";

/// The result of a job whose question was not answered, for the model.
const UNANSWERED: &str = "The job waited for an answer from the user for 24 hours and was given up. \
    Start it again when the user can answer.";

/// Requeues jobs whose lease has expired, or fails them if that was their last attempt. Fails jobs
/// whose question was not answered in time. Returns the number of these jobs.
///
/// Any worker may call this at any time, also concurrently.
pub async fn reclaim(queue: &Queue) -> Result<u64, Failure> {
    let count = reclaim_batch(queue).await?;
    if count > 0 {
        tracing::warn!(count, "Reclaimed jobs whose lease had expired");
    }
    Ok(count)
}

/// Does the same as [`reclaim`], without the line in the log.
pub(crate) async fn reclaim_batch(queue: &Queue) -> Result<u64, Failure> {
    let now = queue.clock().now();
    let reclaimed = reclaim_expired(queue, now).await?;
    if reclaimed.is_empty() {
        return Ok(0);
    }
    let count = u64::try_from(reclaimed.len()).unwrap_or(u64::MAX);
    for job in &reclaimed {
        if job.was_running {
            queue.count_attempt(&job.tool, "lost");
        }
        if job.ended {
            queue.count_job(&job.tool, "failed");
        }
    }
    queue.jobs_changed(reclaimed.into_iter().map(|it| it.job)).await;
    queue.job_queued().await;
    Ok(count)
}

/// A job whose lease had expired.
struct Reclaimed {
    job: JobId,
    tool: String,
    /// `false`: the job waited for its client.
    was_running: bool,
    /// `false`: the job is queued again.
    ended: bool,
}

async fn reclaim_expired(queue: &Queue, now: DateTime<Utc>) -> Result<Vec<Reclaimed>, Failure> {
    const PARENTS: &str = "SELECT parent_id FROM jobs WHERE lease_until <= $1
        ORDER BY lease_until LIMIT $2";
    // Usually no lease has expired, and no transaction is needed.
    let expired = dialect::rows(queue.db(), PARENTS, [now.into(), BATCH.into()]).await?;
    if expired.is_empty() {
        return Ok(Vec::new());
    }
    let parents: Vec<Option<String>> =
        expired.iter().map(|row| row.try_get("", "parent_id")).collect::<Result<_, _>>()?;
    let parents: BTreeSet<String> = parents.into_iter().flatten().collect();

    let transaction = db::begin(queue.db()).await?;
    finish::lock(&transaction, &parents).await?;
    let sql = format!(
        "SELECT * FROM jobs WHERE lease_until <= $1 ORDER BY lease_until LIMIT $2 {}",
        dialect::for_update_skip_locked(transaction.get_database_backend()),
    );
    let expired = dialect::rows(&transaction, sql, [now.into(), BATCH.into()]).await?;
    let mut reclaimed = Vec::new();
    let mut finished: BTreeMap<String, i32> = BTreeMap::new();
    for row in expired {
        let expired = Model::from_query_result(&row, "")?;
        if expired.parent_id.as_ref().is_some_and(|parent| !parents.contains(parent)) {
            continue; // its parent is not locked: the next call reclaims it
        }
        let given_up = requeue_or_fail(queue.content_keys(), &transaction, now, &expired).await?;
        let ended = given_up.is_some();
        if let Some(parent) = given_up.flatten() {
            *finished.entry(parent).or_default() += 1;
        }
        let was_running = expired.status == Status::Running;
        reclaimed.push(Reclaimed {
            job: row::id(&expired)?,
            tool: expired.tool,
            was_running,
            ended,
        });
    }
    for (parent, children) in finished {
        finish::children_ended(&transaction, now, &parent, children).await?;
    }
    transaction.commit().await?;
    Ok(reclaimed)
}

/// Requeues a job (`Ok(None)`), or fails it (`Some`, with its parent if it has one).
async fn requeue_or_fail(
    keys: &ContentKeys,
    db: &impl ConnectionTrait,
    now: DateTime<Utc>,
    expired: &Model,
) -> Result<Option<Option<String>>, Failure> {
    let failures = expired.failures + 1;
    let given_up = match expired.status {
        Status::InputRequired => Some(UNANSWERED),
        _ if failures >= expired.max_attempts => Some(LOST),
        _ => None,
    };
    let update = Entity::update_many()
        .col_expr(Column::Worker, Expr::value(None::<String>))
        .col_expr(Column::Failures, Expr::value(failures))
        .col_expr(Column::LostAttempt, Expr::value(expired.attempt))
        .filter(Column::Id.eq(expired.id.as_str()));
    let Some(text) = given_up else {
        // Due at once: the client has already waited for the loss to be noticed.
        let update = update
            .col_expr(Column::Status, Expr::value(Status::Queued))
            .col_expr(Column::LeaseUntil, Expr::value(None::<DateTime<Utc>>))
            .col_expr(Column::UpdatedAt, Expr::value(now))
            .col_expr(Column::RunAt, Expr::value(now));
        update.exec(db).await?;
        return Ok(None);
    };
    // The error of an earlier attempt says more than that a worker was lost.
    let content = Content::of(keys, &expired.id);
    let error = expired.error.as_deref().filter(|_| text == LOST);
    let error = error.and_then(|error| content.open(Column::Error, error).ok());
    let text = error.as_deref().unwrap_or(text);
    // A job that this version cannot read is failed as well: other jobs may depend on its end.
    failed(keys, now, update, expired, text)?.exec(db).await?;
    Ok(Some(expired.parent_id.clone()))
}
