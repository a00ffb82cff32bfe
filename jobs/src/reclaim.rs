//! Reclaims jobs whose lease has expired, and gives up questions that were not answered in time.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use entity::jobs::{Column, Entity, Model, Status};
use mcp::job::{JobId, JobOutcome, Origin};
use platform::{
    counted,
    db::{self, Failure, dialect},
};
use sea_orm::{
    ColumnTrait as _, ConnectionTrait, EntityTrait as _, FromQueryResult as _, QueryFilter as _,
    sea_query::Expr,
};

use crate::{convert::later, finish, queue::Queue, row};

/// The most jobs that one call reclaims: few enough that other statements are not delayed.
const BATCH: i64 = 200;

/// The result of a job whose worker was lost at every attempt, for the model.
const LOST: &str = "The job was started several times and its worker was lost each time, so it was \
    given up. It may be too large: try with less at once.";

/// The result of a job whose question was not answered, for the model.
const UNANSWERED: &str = "The job waited for an answer of the user for a day and was given up. \
    Start it again when the user is there.";

/// Requeues jobs whose lease has expired, or fails them if that was their last attempt. Fails jobs
/// whose question was not answered in time. Returns the number of these jobs.
///
/// Any worker may call this at any time, also concurrently.
pub async fn reclaim(queue: &Queue) -> Result<u64, Failure> {
    let now = queue.clock().now();
    let taken = take(queue, now).await?;
    if taken.is_empty() {
        return Ok(0);
    }
    let count = u64::try_from(taken.len()).unwrap_or(u64::MAX);
    tracing::warn!(count, "Reclaimed {} whose lease had expired", counted(count, "job", "jobs"));
    for taken in &taken {
        if taken.was_running {
            queue.count_attempt(&taken.tool, "lost");
        }
        if taken.ended {
            queue.count_job(&taken.tool, "failed");
        }
    }
    queue.jobs_changed(taken.into_iter().filter(|it| it.ended).map(|it| it.job)).await;
    queue.job_queued().await;
    Ok(count)
}

/// A job whose lease had expired.
struct Taken {
    job: JobId,
    tool: String,
    /// `false`: it waited for its client.
    was_running: bool,
    /// `false`: it is queued again.
    ended: bool,
}

async fn take(queue: &Queue, now: DateTime<Utc>) -> Result<Vec<Taken>, Failure> {
    const PARENTS: &str = "SELECT parent_id FROM jobs WHERE lease_until <= $1
        ORDER BY lease_until LIMIT $2";
    // Usually there are none, and then no transaction is needed.
    let late = dialect::rows(queue.db(), PARENTS, [now.into(), BATCH.into()]).await?;
    if late.is_empty() {
        return Ok(Vec::new());
    }
    let parents: Vec<Option<String>> =
        late.iter().map(|it| it.try_get("", "parent_id")).collect::<Result<_, _>>()?;
    let parents: BTreeSet<String> = parents.into_iter().flatten().collect();

    let transaction = db::begin(queue.db()).await?;
    finish::lock(&transaction, &parents).await?;
    let sql = format!(
        "SELECT * FROM jobs WHERE lease_until <= $1 ORDER BY lease_until LIMIT $2 {}",
        dialect::for_update_skip_locked(transaction.get_database_backend()),
    );
    let late = dialect::rows(&transaction, sql, [now.into(), BATCH.into()]).await?;
    let mut taken = Vec::new();
    let mut finished: BTreeMap<String, i32> = BTreeMap::new();
    for late in late {
        let late = Model::from_query_result(&late, "")?;
        if late.parent_id.as_ref().is_some_and(|it| !parents.contains(it)) {
            continue; // its parent is not locked: left to the next call
        }
        let given_up = give_back(&transaction, now, &late).await?;
        let ended = given_up.is_some();
        if let Some(parent) = given_up.flatten() {
            *finished.entry(parent).or_default() += 1;
        }
        let was_running = late.status == Status::Running;
        taken.push(Taken { job: row::id(&late)?, tool: late.tool, was_running, ended });
    }
    for (parent, children) in finished {
        finish::children_ended(&transaction, now, &parent, children).await?;
    }
    transaction.commit().await?;
    Ok(taken)
}

/// Requeues a job (`Ok(None)`), or fails it (`Some`, with its parent if it has one).
async fn give_back(
    db: &impl ConnectionTrait,
    now: DateTime<Utc>,
    late: &Model,
) -> Result<Option<Option<String>>, Failure> {
    let failures = late.failures + 1;
    let given_up = match late.status {
        Status::InputRequired => Some(UNANSWERED),
        _ if failures >= late.max_attempts => Some(LOST),
        _ => None,
    };
    let update = Entity::update_many()
        .col_expr(Column::LeaseUntil, Expr::value(None::<DateTime<Utc>>))
        .col_expr(Column::Worker, Expr::value(None::<String>))
        .col_expr(Column::UpdatedAt, Expr::value(now))
        .col_expr(Column::Failures, Expr::value(failures))
        .filter(Column::Id.eq(late.id.as_str()));
    let Some(text) = given_up else {
        // Due at once: the client has already waited for the lease to expire.
        let update = update
            .col_expr(Column::Status, Expr::value(Status::Queued))
            .col_expr(Column::RunAt, Expr::value(now));
        update.exec(db).await?;
        return Ok(None);
    };
    // The error of an earlier attempt says more than that a worker was lost.
    let text = late.error.as_deref().filter(|_| text == LOST).unwrap_or(text);
    // A job that this version cannot read is failed as well: other jobs may depend on its end.
    let told = row::call(late).is_ok_and(|it| matches!(it.origin, Origin::Stream { .. }));
    let expires_at = late.parent_id.is_none();
    let expires_at = expires_at.then(|| later(now, row::duration(late.keep_ms)));
    update
        .col_expr(Column::Status, Expr::value(Status::Failed))
        .col_expr(Column::Questions, Expr::value(None::<String>))
        .col_expr(Column::Arguments, Expr::value(None::<String>))
        .col_expr(Column::Checkpoint, Expr::value(None::<String>))
        .col_expr(Column::Outcome, Expr::value(row::encode(&JobOutcome::failed(text))?))
        .col_expr(Column::Announced, Expr::value(!told))
        .col_expr(Column::EndedAt, Expr::value(now))
        .col_expr(Column::ExpiresAt, Expr::value(expires_at))
        .exec(db)
        .await?;
    Ok(Some(late.parent_id.clone()))
}
