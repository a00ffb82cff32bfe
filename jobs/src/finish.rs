//! Writes the ends of attempts.
//!
//! Ends are written in batches: on a busy worker, several attempts end while the database writes
//! the previous batch.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use chrono::{DateTime, Utc};
use entity::jobs::{Column, Entity, Model, Status};
use mcp::{
    ContentKeys,
    job::{JobId, JobOutcome, MAX_CHILDREN, NewJob},
};
use platform::db::{
    self, Failure,
    dialect::{self, Column as Given},
};
use runner::{End, Finished, Lease};
use sea_orm::{
    ActiveEnum as _, ColumnTrait as _, ConnectionTrait, EntityTrait as _, QueryFilter as _,
    sea_query::Expr,
};
use serde::Serialize;

use crate::{
    content::Content,
    convert::{internal, later, shortened},
    enqueue::{self, BoundBy, Encoded},
    limits::{MAX_CLAIMS, MAX_RESULT, QUESTION_TIMEOUT},
    queue::Queue,
    row,
};

/// The delay before the first retry. It doubles after each failure.
const FIRST_DELAY: Duration = Duration::from_secs(1);

/// The longest delay: a dependency that has been down for long may recover at any time.
const LONGEST_DELAY: Duration = Duration::from_mins(5);

/// The outcome of a job, for metrics. `None`: it does not end with this attempt.
fn outcome(end: &End, lease: &Lease) -> Option<&'static str> {
    match end {
        End::Answered(JobOutcome::Result { is_error: false, .. }) => Some("ok"),
        End::Answered(JobOutcome::Result { is_fault: true, .. } | JobOutcome::Error(_)) => {
            Some("failed")
        }
        End::Answered(JobOutcome::Result { is_error: true, .. }) => Some("tool_error"),
        End::Retry(_) if lease.failures + 1 >= lease.max_attempts => Some("failed"),
        _ => None,
    }
}

/// Writes the ends of attempts, and wakes workers if that queued a job. An end whose attempt is no
/// longer the current one is not written.
pub async fn finish(queue: &Queue, ends: &[(Lease, End)]) -> Result<Finished, Failure> {
    let now = queue.clock().now();
    let (mut single, mut related) = (Vec::new(), Vec::new());
    for (lease, end) in ends {
        let end = within_bounds(lease, end);
        let has_relatives = lease.parent.is_some() || matches!(*end, End::Children(_));
        if has_relatives { &mut related } else { &mut single }.push((lease, end));
    }

    let mut finished = Finished::default();
    let mut changed = Vec::new();
    let mut queued = false;
    if !single.is_empty() {
        let written = update(queue.content_keys(), queue.db(), now, &single).await?;
        collect(queue, &mut finished, &mut changed, &mut queued, &single, &written);
    }
    if !related.is_empty() {
        let written = with_relatives(queue, now, &related).await?;
        queued |= !written.is_empty();
        collect(queue, &mut finished, &mut changed, &mut queued, &related, &written);
    }
    queue.jobs_changed(changed).await;
    if queued {
        queue.job_queued().await;
    }
    Ok(finished)
}

/// A lease, and an end within the limits.
type CheckedEnd<'a> = (&'a Lease, Cow<'a, End>);

/// Counts the written ends, and collects the signals and notifications that follow from them.
fn collect(
    queue: &Queue,
    finished: &mut Finished,
    changed: &mut Vec<JobId>,
    queued: &mut bool,
    ends: &[CheckedEnd<'_>],
    written: &BTreeSet<String>,
) {
    for (lease, end) in ends.iter().filter(|(lease, _)| written.contains(lease.job.as_str())) {
        finished.written.insert(lease.job.clone());
        queue.count_attempt(&lease.tool, end.name());
        if let Some(outcome) = outcome(end, lease) {
            queue.count_job(&lease.tool, outcome);
        }
        match &**end {
            End::Answered(_) | End::InputRequired(_) | End::Retry(_) => {
                changed.push(lease.job.clone());
                if lease.notifies_client {
                    finished.to_notify.push(lease.job.clone());
                }
            }
            End::Released | End::Children(_) => *queued = true,
        }
    }
}

/// Replaces an end that exceeds a limit by a failure that says so.
fn within_bounds<'a>(lease: &Lease, end: &'a End) -> Cow<'a, End> {
    let problem = match end {
        End::Answered(JobOutcome::Result { result, .. }) if result.get().len() > MAX_RESULT => {
            format!(
                "The result is larger than {MAX_RESULT} bytes, the maximum. Ask for less at once."
            )
        }
        End::Children(children) if children.len() > MAX_CHILDREN => {
            format!(
                "This needs more than {MAX_CHILDREN} child jobs, the maximum. Ask for less at once."
            )
        }
        End::InputRequired(_) if lease.parent.is_some() => {
            "A child job asked the client a question, which child jobs cannot do.".to_owned()
        }
        End::Children(_) if lease.parent.is_some() => {
            "A child job asked for child jobs, which it cannot have.".to_owned()
        }
        End::InputRequired(_) | End::Children(_) | End::Released
            if row::has_reached_max_claims(lease) =>
        {
            format!("The job was run {MAX_CLAIMS} times, the maximum, and did not end.")
        }
        _ => return Cow::Borrowed(end),
    };
    tracing::warn!(job = %lease.job, error = problem, "A job exceeded a limit and fails");
    Cow::Owned(End::Answered(JobOutcome::failed(problem)))
}

/// The new values of a row.
#[derive(Serialize)]
struct Write {
    job: String,
    fence: u32,
    status: String,
    failures: u32,
    run_at: Option<String>,
    lease_until: Option<String>,
    questions: Option<String>,
    outcome: Option<String>,
    error: Option<String>,
    announced: bool,
    ended_at: Option<String>,
    expires_at: Option<String>,
}

const COLUMNS: &[Given] = &[
    ("job", "text"),
    ("fence", "integer"),
    ("status", "text"),
    ("failures", "integer"),
    ("run_at", "timestamptz"),
    ("lease_until", "timestamptz"),
    ("questions", "text"),
    ("outcome", "text"),
    ("error", "text"),
    ("announced", "boolean"),
    ("ended_at", "timestamptz"),
    ("expires_at", "timestamptz"),
];

/// A time as JSON and SQLite rows hold it.
fn time(time: DateTime<Utc>) -> String {
    time.to_rfc3339()
}

fn write(
    keys: &ContentKeys,
    now: DateTime<Utc>,
    lease: &Lease,
    end: &End,
) -> Result<Write, Failure> {
    let content = Content::of_job(keys, &lease.job);
    let mut write = Write {
        job: lease.job.to_string(),
        fence: lease.number,
        status: Status::Queued.to_value(),
        failures: lease.failures,
        run_at: None,
        lease_until: None,
        questions: None,
        outcome: None,
        error: None,
        announced: true,
        ended_at: None,
        expires_at: None,
    };
    match end {
        End::Answered(outcome) => {
            let status = match outcome {
                JobOutcome::Result { .. } => Status::Completed,
                JobOutcome::Error(_) => Status::Failed,
            };
            write.end(content, now, lease, status, outcome)?;
        }
        End::InputRequired(questions) => {
            write.status = Status::InputRequired.to_value();
            write.questions = Some(content.encode(Column::Questions, questions)?);
            write.lease_until = Some(time(later(now, QUESTION_TIMEOUT)));
            write.announced = !lease.notifies_client;
        }
        End::Children(_) => write.status = Status::Waiting.to_value(),
        End::Retry(error) => {
            write.failures += 1;
            write.error = Some(content.seal(Column::Error, &shortened(error)));
            write.run_at = Some(time(later(now, retry_delay(write.failures, rand::random()))));
            if write.failures >= lease.max_attempts {
                let outcome = JobOutcome::failed(shortened(error));
                write.end(content, now, lease, Status::Failed, &outcome)?;
            }
        }
        End::Released => write.run_at = Some(time(now)),
    }
    Ok(write)
}

impl Write {
    fn end(
        &mut self,
        content: Content<'_>,
        now: DateTime<Utc>,
        lease: &Lease,
        status: Status,
        outcome: &JobOutcome,
    ) -> Result<(), Failure> {
        self.status = status.to_value();
        self.outcome = Some(content.encode(Column::Outcome, outcome)?);
        self.announced = !lease.notifies_client;
        self.ended_at = Some(time(now));
        // A child is deleted with its parent, which may still need to read it.
        self.expires_at = lease.parent.is_none().then(|| time(later(now, lease.keep)));
        Ok(())
    }
}

/// The delay after this many failures: doubled each time, minus a random part of up to a quarter,
/// so that jobs that failed together are not retried together.
fn retry_delay(failures: u32, random: u8) -> Duration {
    let doubled = FIRST_DELAY.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)));
    let delay = doubled.min(LONGEST_DELAY);
    delay.saturating_sub(delay / 4 * u32::from(random) / u32::from(u8::MAX))
}

/// Writes ends, each only if its attempt is the current one. Returns the ids of the jobs written.
async fn update(
    keys: &ContentKeys,
    db: &impl ConnectionTrait,
    now: DateTime<Utc>,
    ends: &[CheckedEnd<'_>],
) -> Result<BTreeSet<String>, Failure> {
    let writes = ends.iter().map(|(lease, end)| write(keys, now, lease, end));
    let mut writes: Vec<Write> = writes.collect::<Result<_, _>>()?;
    // Always in the same order, so that two concurrent writers do not deadlock.
    writes.sort_by(|one, other| one.job.cmp(&other.job));
    let sql = format!(
        "UPDATE jobs SET status = given.status, failures = given.failures,
            run_at = coalesce(given.run_at, jobs.run_at), lease_until = given.lease_until,
            worker = NULL, questions = given.questions, outcome = given.outcome,
            error = coalesce(given.error, jobs.error), announced = given.announced,
            ended_at = given.ended_at, expires_at = given.expires_at, updated_at = $2,
            arguments = CASE WHEN given.ended_at IS NULL THEN jobs.arguments END,
            checkpoint = CASE WHEN given.ended_at IS NULL THEN jobs.checkpoint END
        FROM {}
        WHERE jobs.id = given.job AND jobs.attempt = given.fence AND jobs.status = 'running'
        RETURNING id",
        dialect::given(db.get_database_backend(), COLUMNS),
    );
    let json = serde_json::to_string(&writes).map_err(internal)?;
    let rows = dialect::rows(db, sql, [json.into(), now.into()]).await?;
    Ok(rows.iter().map(|row| row.try_get("", "id")).collect::<Result<_, _>>()?)
}

/// Writes ends that concern two or more rows: ends of children, and ends that start children.
async fn with_relatives(
    queue: &Queue,
    now: DateTime<Utc>,
    ends: &[CheckedEnd<'_>],
) -> Result<BTreeSet<String>, Failure> {
    let (keys, transaction) = (queue.content_keys(), db::begin(queue.db()).await?);
    let parents: BTreeSet<_> =
        ends.iter().filter_map(|(lease, _)| Some(lease.parent.as_ref()?.to_string())).collect();
    lock(&transaction, &parents).await?;

    let written = update(keys, &transaction, now, ends).await?;
    let mut finished: BTreeMap<&JobId, i32> = BTreeMap::new();
    for (lease, end) in ends {
        if let Some(parent) = &lease.parent
            && outcome(end, lease).is_some()
            && written.contains(lease.job.as_str())
        {
            *finished.entry(parent).or_default() += 1;
        }
    }
    for (parent, children) in finished {
        children_ended(&transaction, now, parent.as_str(), children).await?;
    }
    for (lease, end) in ends {
        if let End::Children(children) = &**end
            && written.contains(lease.job.as_str())
        {
            begin_children(keys, &transaction, now, &lease.job, children.clone()).await?;
        }
    }
    transaction.commit().await?;
    Ok(written)
}

/// Locks rows in the order of their ids. Parents are locked before their children, to avoid
/// deadlocks.
pub(super) async fn lock(db: &impl ConnectionTrait, ids: &BTreeSet<String>) -> Result<(), Failure> {
    if ids.is_empty() {
        return Ok(());
    }
    let backend = db.get_database_backend();
    let sql = format!(
        "SELECT jobs.id FROM jobs JOIN {} ON jobs.id = given.job ORDER BY jobs.id {}",
        dialect::given(backend, &[("job", "text")]),
        if backend == sea_orm::DbBackend::Postgres { "FOR UPDATE OF jobs" } else { "" },
    );
    let ids: Vec<_> = ids.iter().map(|id| serde_json::json!({ "job": id })).collect();
    let json = serde_json::to_string(&ids).map_err(internal)?;
    dialect::rows(db, sql, [json.into()]).await?;
    Ok(())
}

/// Counts children of a locked parent as ended. The last one queues the parent.
pub(super) async fn children_ended(
    db: &impl ConnectionTrait,
    now: DateTime<Utc>,
    parent: &str,
    children: i32,
) -> Result<(), Failure> {
    const SQL: &str = "UPDATE jobs SET pending = pending - $2, run_at = $3, updated_at = $3,
        status = CASE WHEN pending <= $2 THEN 'queued' ELSE status END
        WHERE id = $1 AND status = 'waiting'";
    dialect::written(db, SQL, [parent.into(), children.into(), now.into()]).await?;
    Ok(())
}

/// Inserts the children that a job waits for from now on. If none of them is unfinished, the job is
/// queued instead.
async fn begin_children(
    keys: &ContentKeys,
    db: &impl ConnectionTrait,
    now: DateTime<Utc>,
    parent: &JobId,
    children: BTreeMap<String, NewJob>,
) -> Result<(), Failure> {
    const WAIT: &str = "UPDATE jobs SET pending = $2,
        status = CASE WHEN $2 = 0 THEN 'queued' ELSE 'waiting' END WHERE id = $1";
    const PENDING: &str =
        "SELECT count(*) AS pending FROM jobs WHERE parent_id = $1 AND ended_at IS NULL";
    for (key, child) in children {
        let encoded = Encoded::of(keys, &child)?;
        enqueue::insert(db, now, child, encoded, BoundBy::Parent { id: parent, key: &key }).await?;
    }
    let rows = dialect::rows(db, PENDING, [parent.as_str().into()]).await?;
    let pending: i64 = rows.first().map_or(Ok(0), |row| row.try_get("", "pending"))?;
    let pending = i32::try_from(pending).unwrap_or(i32::MAX);
    dialect::written(db, WAIT, [parent.as_str().into(), pending.into()]).await?;
    Ok(())
}

/// Requeues a job that was claimed but cannot be run here. It is due again after `delay`.
pub(super) async fn requeue(queue: &Queue, row: &Model, delay: Duration) -> Result<(), Failure> {
    let now = queue.clock().now();
    Entity::update_many()
        .col_expr(Column::Status, Expr::value(Status::Queued))
        .col_expr(Column::RunAt, Expr::value(later(now, delay)))
        .col_expr(Column::LeaseUntil, Expr::value(None::<DateTime<Utc>>))
        .col_expr(Column::Worker, Expr::value(None::<String>))
        .filter(Column::Id.eq(row.id.as_str()))
        .filter(Column::Attempt.eq(row.attempt))
        .filter(Column::Status.eq(Status::Running))
        .exec(queue.db())
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_delays_double_up_to_a_maximum_and_are_randomized() {
        for (failures, most) in [(1, 1), (2, 2), (5, 16), (9, 256), (10, 300), (u32::MAX, 300)] {
            let most = Duration::from_secs(most);
            assert_eq!(retry_delay(failures, 0), most);
            assert!(retry_delay(failures, u8::MAX) >= most * 3 / 4, "{failures}");
            assert!(retry_delay(failures, u8::MAX) < most, "{failures}");
        }
    }
}
