//! The beginning of a job.

use chrono::{DateTime, Utc};
use mcp::job::{Job, JobId, NewJob, NotEnqueued};
use sea_orm::{ConnectionTrait, Value};

use super::{MAX_UNFINISHED, away, dialect, millis, read, row};
use crate::{Service, db::Failure, oauth::access::Authority};

/// A job whose parent waits for it.
pub(super) struct Parent<'a> {
    pub(super) id: &'a JobId,
    pub(super) key: &'a str,
}

/// Keeps a new job, and wakes a worker.
pub async fn enqueue(service: &Service, job: NewJob) -> Result<Job, NotEnqueued> {
    let job = enqueue_in(service, service.db(), job).await?;
    service.job_queued().await;
    Ok(job)
}

/// Keeps a new job in a transaction of the caller, who calls [`Service::job_queued`] after its
/// commit. The same id a second time gives the job that is there.
pub async fn enqueue_in(
    service: &Service,
    db: &impl ConnectionTrait,
    job: NewJob,
) -> Result<Job, NotEnqueued> {
    let user = job.call.caller.user.clone();
    let now = service.clock().now();
    let fresh = row::fresh(&job, now);
    if insert(db, now, job, None).await.map_err(away)? {
        return Ok(fresh);
    }
    let kept = read::find(db, &user, &fresh.id).await.map_err(away)?;
    match kept {
        Some(kept) => Ok(row::job(&kept).map_err(away)?),
        None => Err(NotEnqueued::TooMany { limit: MAX_UNFINISHED }),
    }
}

const INSERT: &str = "
INSERT INTO jobs (id, owner_sub, client_id, grant_id, key_id, tool, call, arguments, status, attempt, failures, max_attempts,
    timeout_ms, run_at, parent_id, parent_key, pending, answers, announced, keep_ms, created_at,
    updated_at)
SELECT $1, $2, $3, $15, $16, $4, $5, $6, 'queued', 0, 0, $7, $8, $9, $10, $11, 0, $12, true, $13, $9, $9
WHERE (SELECT count(*) FROM (SELECT 1 FROM jobs WHERE owner_sub = $2 AND ended_at IS NULL
    LIMIT $14) AS unfinished) < $14
ON CONFLICT DO NOTHING";

/// Whether there is a new row. Not if it is there already, or if there are too many.
pub(super) async fn insert(
    db: &impl ConnectionTrait,
    now: DateTime<Utc>,
    job: NewJob,
    parent: Option<Parent<'_>>,
) -> Result<bool, Failure> {
    let answers = if job.answers.is_empty() { None } else { Some(row::encode(&job.answers)?) };
    let (parent_id, parent_key, limit) = match parent {
        // Their number is bounded by that of their parents.
        Some(Parent { id, key }) => (Some(id.to_string()), Some(key.to_owned()), u64::MAX),
        None => (None, None, MAX_UNFINISHED),
    };
    let (call, arguments) = row::encode_call(job.call.clone())?;
    let Authority { grant, key, .. } = Authority::of(&job.call.caller);
    let values: [Value; 16] = [
        job.id.as_str().into(),
        job.call.caller.user.as_str().into(),
        (&*job.call.caller.client).into(),
        job.call.tool.as_str().into(),
        call.into(),
        arguments.into(),
        i32::try_from(job.attempts.max(1)).unwrap_or(i32::MAX).into(),
        millis(job.timeout).into(),
        now.into(),
        parent_id.into(),
        parent_key.into(),
        answers.into(),
        millis(row::kept(&job)).into(),
        i64::try_from(limit).unwrap_or(i64::MAX).into(),
        grant.map(|grant| grant.0).into(),
        key.map(|key| key.0).into(),
    ];
    Ok(dialect::written(db, INSERT, values).await? == 1)
}
