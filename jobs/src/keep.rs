//! What an attempt writes while it runs: that it lives, how far it is, and where to go on.

use std::collections::BTreeSet;

use mcp::job::{JobId, Progress};
use platform::db::Failure;
use platform::db::dialect;
use sea_orm::{ConnectionTrait, DbErr};
use serde_json::{Value, json};

use crate::{
    convert::{later, shortened},
    limits::{LEASE, MAX_CHECKPOINT},
    queue::Queue,
    row,
};

/// Renews the leases of attempts. Gives those that still have their job: whoever runs another one
/// stops it.
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
    // In the order in which ends are written, so that neither waits for the other for ever.
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

/// Notes how far attempts are, and tells those who follow them. Progress only grows.
pub async fn note_progress(
    queue: &Queue,
    attempts: &[(JobId, u32, Progress)],
) -> Result<(), Failure> {
    let sql = format!(
        "UPDATE jobs SET progress = given.done, total = given.whole, message = given.words,
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
                ("whole", "double precision"),
                ("words", "text"),
            ],
        ),
    );
    let attempts: Vec<_> = attempts
        .iter()
        .map(|(job, number, Progress { done, total, message })| {
            let words = message.as_deref().map(shortened);
            json!({ "job": job, "fence": number, "done": done, "whole": total, "words": words })
        })
        .collect();
    let given = Value::from(attempts).to_string();
    let now = queue.clock().now();
    let rows = dialect::rows(queue.db(), sql, [given.into(), now.into()]).await?;
    queue.jobs_changed(ids(&rows)?).await;
    Ok(())
}

/// Why a checkpoint was not kept. In every case the attempt must not go on as if it were.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// Another attempt has begun, or the job has ended.
    #[error("this attempt is over")]
    Superseded,
    /// It has more than [`MAX_CHECKPOINT`] bytes.
    #[error("a checkpoint may have {MAX_CHECKPOINT} bytes, and this one has {bytes}")]
    TooLarge {
        /// How many it has.
        bytes: usize,
    },
    /// The database gave no answer.
    #[error(transparent)]
    Failed(#[from] Failure),
}

impl From<DbErr> for CheckpointError {
    fn from(error: DbErr) -> Self {
        Self::Failed(error.into())
    }
}

/// Keeps what a later attempt needs to go on.
///
/// In the transaction of an effect, this makes the effect happen exactly once: it locks the job's
/// row until the commit, so that nobody takes the job over in between, and fails if somebody has.
/// Then roll back.
pub async fn checkpoint(
    db: &impl ConnectionTrait,
    job: &JobId,
    attempt: u32,
    state: &Value,
) -> Result<(), CheckpointError> {
    const SQL: &str = "UPDATE jobs SET checkpoint = $3
        WHERE id = $1 AND attempt = $2 AND status = 'running'";
    let state = row::encode(state)?;
    if state.len() > MAX_CHECKPOINT {
        return Err(CheckpointError::TooLarge { bytes: state.len() });
    }
    let number = i32::try_from(attempt).unwrap_or(i32::MAX);
    let values = [job.as_str().into(), number.into(), state.into()];
    match dialect::written(db, SQL, values).await? {
        0 => Err(CheckpointError::Superseded),
        _ => Ok(()),
    }
}

/// The jobs that a statement returned.
pub(super) fn ids(rows: &[sea_orm::QueryResult]) -> Result<BTreeSet<JobId>, Failure> {
    let mut ids = BTreeSet::new();
    for row in rows {
        let id: String = row.try_get("", "id")?;
        ids.extend(JobId::parse(&id));
    }
    Ok(ids)
}

/// A lease is renewed this often, so that one renewal may fail and another one be late.
pub const RENEWALS_PER_LEASE: u32 = 3;

const _: () = assert!(LEASE.as_secs() >= 10, "a lease outlives a database that restarts");
