//! Writes of a running attempt: lease renewals, progress and checkpoints.

use std::collections::BTreeSet;

use entity::jobs::Column;
use mcp::{
    Call, ToolError,
    job::{JobId, Progress, Superseded},
};
use platform::db::{Failure, dialect};
use sea_orm::{ConnectionTrait, DbErr};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    content::Content,
    convert::{later, shortened},
    encoding,
    limits::{LEASE, MAX_CHECKPOINT},
    queue::Queue,
    row,
};

/// Renews the leases of attempts. Returns the attempts that still own their job; the worker stops
/// all others.
pub async fn renew(
    queue: &Queue,
    attempts: &[(JobId, u32)],
    lease: std::time::Duration,
) -> Result<BTreeSet<(JobId, u32)>, Failure> {
    let until = later(queue.clock().now(), lease);
    let sql = format!(
        "UPDATE jobs SET lease_until = $2 FROM {}
        WHERE jobs.id = given.job AND jobs.attempt = given.fence AND jobs.status = 'running'
        RETURNING id, attempt",
        dialect::given(queue.db().get_database_backend(), &[("job", "text"), ("fence", "integer")]),
    );
    // In the order of the job ids, as in `finish::update`, to avoid deadlocks.
    let attempts: BTreeSet<_> = attempts.iter().collect();
    let attempts: Vec<_> =
        attempts.iter().map(|(job, number)| json!({ "job": job, "fence": number })).collect();
    let given = Value::from(attempts).to_string();
    let rows = dialect::rows(queue.db(), sql, [given.into(), until.into()]).await?;
    let mut renewed = BTreeSet::new();
    for row in rows {
        let (id, number): (String, i32) = (row.try_get("", "id")?, row.try_get("", "attempt")?);
        renewed.extend(JobId::parse(&id).map(|id| (id, row::count(number))));
    }
    Ok(renewed)
}

/// Stores the progress of attempts and signals it to subscribers. Progress never decreases: a lower
/// value is ignored.
pub async fn record_progress(
    queue: &Queue,
    attempts: &[(JobId, u32, Progress)],
) -> Result<(), Failure> {
    let sql = format!(
        "UPDATE jobs SET progress = given.done, total = given.total, message = given.message,
            updated_at = $2
        FROM {}
        WHERE jobs.id = given.job AND jobs.attempt = given.fence AND jobs.status = 'running'
            AND given.done >= coalesce(jobs.progress, given.done)
        RETURNING id",
        dialect::given(
            queue.db().get_database_backend(),
            &[
                ("job", "text"),
                ("fence", "integer"),
                ("done", "double precision"),
                ("total", "double precision"),
                ("message", "text"),
            ],
        ),
    );
    let attempts: Vec<_> = attempts
        .iter()
        .map(|(job, number, Progress { done, total, message })| {
            let content = Content::of_job(queue.content_keys(), job);
            let message = message.as_deref().map(shortened);
            let message = message.map(|message| content.seal(Column::Message, &message));
            json!({ "job": job, "fence": number, "done": done, "total": total, "message": message })
        })
        .collect();
    let given = Value::from(attempts).to_string();
    let now = queue.clock().now();
    let rows = dialect::rows(queue.db(), sql, [given.into(), now.into()]).await?;
    queue.jobs_changed(ids(&rows)?).await;
    Ok(())
}

/// Why a checkpoint was not stored. The attempt must not continue as if it had been stored.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// A later attempt has begun, or the job has ended.
    #[error("this attempt of the job is no longer current")]
    Superseded,
    /// The checkpoint is larger than [`MAX_CHECKPOINT`] bytes.
    #[error("the checkpoint has {bytes} bytes; the maximum is {MAX_CHECKPOINT}")]
    TooLarge {
        /// The size of the checkpoint.
        bytes: usize,
    },
    /// The statement failed.
    #[error(transparent)]
    Failed(#[from] Failure),
}

impl From<DbErr> for CheckpointError {
    fn from(error: DbErr) -> Self {
        Self::Failed(error.into())
    }
}

/// Stores the state from which a later attempt continues.
///
/// In the transaction of a side effect, this makes the side effect happen exactly once: it locks
/// the job's row until the commit, so that no other worker reclaims the job in between, and fails
/// if one already has. On an error, roll back.
pub async fn checkpoint(
    queue: &Queue,
    db: &impl ConnectionTrait,
    job: &JobId,
    attempt: u32,
    state: &Value,
) -> Result<(), CheckpointError> {
    const SQL: &str = "UPDATE jobs SET checkpoint = $3
        WHERE id = $1 AND attempt = $2 AND status = 'running'";
    let state = encoding::encode(state)?;
    if state.len() > MAX_CHECKPOINT {
        return Err(CheckpointError::TooLarge { bytes: state.len() });
    }
    let state = Content::of_job(queue.content_keys(), job).seal(Column::Checkpoint, &state);
    let number = i32::try_from(attempt).unwrap_or(i32::MAX);
    let values = [job.as_str().into(), number.into(), state.into()];
    match dialect::written(db, SQL, values).await? {
        0 => Err(CheckpointError::Superseded),
        _ => Ok(()),
    }
}

/// Stores the state from which a later attempt of the job that runs `call` continues, like
/// [`checkpoint`]; a later attempt reads it with [`Call::checkpoint`]. Does nothing for a call that
/// does not run as a job.
///
/// In the transaction of a batch, this makes the batch happen exactly once, however often workers die:
///
/// ```text
/// let transaction = db::begin(&db).await?;
/// …write the batch…
/// jobs::checkpoint_of(queue, call, &transaction, &state).await?;
/// transaction.commit().await?;
/// ```
pub async fn checkpoint_of(
    queue: &Queue,
    call: &Call,
    db: &impl ConnectionTrait,
    state: &impl Serialize,
) -> Result<(), ToolError> {
    let Some((job, attempt)) = call.attempt() else { return Ok(()) };
    let state = serde_json::to_value(state).map_err(ToolError::internal)?;
    Ok(checkpoint(queue, db, job, attempt, &state).await?)
}

impl From<CheckpointError> for ToolError {
    fn from(error: CheckpointError) -> Self {
        match error {
            CheckpointError::Superseded => Superseded.into(),
            CheckpointError::Failed(Failure::Internal(error)) => Self::internal(error),
            CheckpointError::Failed(error) => {
                tracing::warn!(
                    dependency = error.dependency(), error = ?error,
                    "Could not store a checkpoint; the job is retried"
                );
                Self::Unavailable("The job cannot continue at the moment.".into())
            }
            error @ CheckpointError::TooLarge { .. } => Self::internal(error),
        }
    }
}

/// The job ids that a statement returned.
pub(super) fn ids(rows: &[sea_orm::QueryResult]) -> Result<BTreeSet<JobId>, Failure> {
    let mut ids = BTreeSet::new();
    for row in rows {
        let id: String = row.try_get("", "id")?;
        ids.extend(JobId::parse(&id));
    }
    Ok(ids)
}

const _: () =
    assert!(LEASE.as_secs() >= 10, "a lease must last longer than a restart of the database");
