//! Adds jobs to the queue.

use chrono::{DateTime, Utc};
use entity::jobs::Column;
use mcp::{
    ContentKeys,
    job::{Job, JobId, NewJob, NotEnqueued},
};
use platform::db::{self, Failure, PersonLock, Transaction, dialect};
use sea_orm::{ConnectionTrait, Value};

use crate::{
    content::Content,
    convert::{millis, store_error},
    queue::Queue,
    quota::{self, JobQuota},
    read, row,
};

/// What limits the number of jobs.
pub(super) enum BoundBy<'a> {
    /// The person's quota.
    Quota(JobQuota),
    /// The parent, which waits for the job and has one child for each key.
    Parent { id: &'a JobId, key: &'a str },
}

/// Adds a job and wakes a worker. Idempotent: with an id that exists already, returns the existing
/// job.
pub async fn enqueue(queue: &Queue, job: NewJob) -> Result<Job, NotEnqueued> {
    let user = job.call.caller.user.clone();
    let encoded = Encoded::of(queue.content_keys(), &job).map_err(store_error)?;
    let lock = PersonLock::jobs(user.as_str());
    let transaction = db::begin_locked(&queue.db_of(&user), lock).await.map_err(store_error)?;
    let job = add(queue, &transaction, job, encoded).await?;
    transaction.commit().await.map_err(|error| store_error(error.into()))?;
    queue.job_queued().await;
    Ok(job)
}

/// Adds a job in the caller's transaction, and locks the person's jobs until the transaction ends.
/// After the commit the caller must call [`Queue::job_queued`]. Idempotent: with an id that exists
/// already, returns the existing job.
pub async fn enqueue_in(
    queue: &Queue,
    transaction: &Transaction,
    job: NewJob,
) -> Result<Job, NotEnqueued> {
    let encoded = Encoded::of(queue.content_keys(), &job).map_err(store_error)?;
    let lock = PersonLock::jobs(job.call.caller.user.as_str());
    transaction.lock(lock).await.map_err(|error| store_error(error.into()))?;
    add(queue, transaction, job, encoded).await
}

/// Adds a job, under the lock on the person's jobs, if the quota allows it.
async fn add(
    queue: &Queue,
    transaction: &Transaction,
    job: NewJob,
    encoded: Encoded,
) -> Result<Job, NotEnqueued> {
    let user = job.call.caller.user.clone();
    let now = queue.clock().now();
    let fresh = row::fresh(&job, now);
    let quota = queue.quota();
    let bound = BoundBy::Quota(quota);
    if insert(transaction, now, job, encoded, bound).await.map_err(store_error)? {
        return Ok(fresh);
    }
    if let Some(existing) = read::find(transaction, &user, &fresh.id).await.map_err(store_error)? {
        return Ok(row::job(queue.content_keys(), &existing).map_err(store_error)?);
    }
    let usage = quota::usage(transaction, &user, quota).await.map_err(store_error)?;
    Err(usage.refusal())
}

/// The columns of a new job with JSON and encrypted content. They are made before the lock on the
/// person's jobs is taken, because the arguments may have megabytes.
pub(super) struct Encoded {
    call: String,
    arguments: String,
    answers: Option<String>,
}

impl Encoded {
    pub(super) fn of(keys: &ContentKeys, job: &NewJob) -> Result<Self, Failure> {
        let content = Content::of_job(keys, &job.id);
        let answers = (!job.answers.is_empty())
            .then(|| content.encode(Column::Answers, &job.answers))
            .transpose()?;
        let (call, arguments) = row::encode_call(content, job.call.clone())?;
        Ok(Self { call, arguments, answers })
    }
}

/// Encrypted columns are base64, so three of four stored bytes count.
const INSERT: &str = "
INSERT INTO jobs (id, owner_sub, client_id, grant_id, key_id, tool, call, arguments, status, attempt,
    failures, max_attempts, timeout_ms, run_at, parent_id, parent_key, pending, answers, announced,
    keep_ms, created_at, updated_at)
SELECT $1, $2, $3, $14, $15, $4, $5, $6, 'queued', 0, 0, $7, $8, $9, $10, $11, 0, $12, true, $13, $9, $9
WHERE CAST($10 AS text) IS NOT NULL OR (
    SELECT count(*) < $16 AND
        coalesce(sum(coalesce(octet_length(arguments), 0) + coalesce(octet_length(answers), 0)), 0)
            * 3 / 4 + $18 <= $17
    FROM (SELECT arguments, answers FROM jobs WHERE owner_sub = $2 AND ended_at IS NULL LIMIT $16)
        AS unfinished)
ON CONFLICT DO NOTHING";

/// Inserts the row of a job. `false`: a row with its id or, for a child, its key exists already, or
/// the job would exceed the quota.
pub(super) async fn insert(
    db: &impl ConnectionTrait,
    now: DateTime<Utc>,
    job: NewJob,
    encoded: Encoded,
    bound: BoundBy<'_>,
) -> Result<bool, Failure> {
    let Encoded { call, arguments, answers } = encoded;
    let (parent_id, parent_key, quota) = match bound {
        BoundBy::Parent { id, key } => (Some(id.to_string()), Some(key.to_owned()), None),
        BoundBy::Quota(quota) => (None, None, Some(quota)),
    };
    let bytes = (arguments.len() + answers.as_ref().map_or(0, String::len)) * 3 / 4;
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let (grant, key) = row::grant_and_key(&job.call.caller);
    let values: [Value; 18] = [
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
        millis(row::result_ttl(&job)).into(),
        grant.map(|grant| grant.0).into(),
        key.map(|key| key.0).into(),
        quota.map_or(i64::MAX, |quota| number(quota.jobs)).into(),
        quota.map_or(i64::MAX, |quota| number(quota.bytes)).into(),
        i64::try_from(bytes).unwrap_or(i64::MAX).into(),
    ];
    Ok(dialect::written(db, INSERT, values).await? == 1)
}
