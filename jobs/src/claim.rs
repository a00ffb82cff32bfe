//! Claims due jobs fairly: many jobs of one owner do not delay the few of another.
//!
//! The queue is read owner by owner, along one index: each step finds the next owner with a due
//! job, however many jobs lie in between. Every owner gets an equal part of a claim, and the next
//! claim continues after the last owner of this one ([`Turn`]). The cost of a claim is therefore
//! proportional to the number of jobs that it takes, and a person's only job waits for one round,
//! not for the thousand jobs of another person.
//!
//! That alone does not help against jobs that run for minutes: once they occupy every slot of a
//! worker, all other jobs wait. A worker therefore reserves some of its slots for idle owners, who
//! have no job running in this worker, and fills these slots with [`Claim::excluded_owners`].

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
    time::Duration,
};

use entity::jobs::{COLUMN, Column, Entity, Model};
use mcp::{
    ContentKeys, UserId,
    job::{Attempt, JobId, JobOutcome},
};
use platform::db::{Failure, dialect};
use runner::{Claim, Claimed, End, Lease, Turn};
use sea_orm::{
    DbBackend, EntityTrait as _, FromQueryResult as _, QueryFilter as _, QuerySelect as _, Value,
};

use crate::{
    content::{Content, LOST_CONTENT, is_lost},
    convert::{internal, later, unreadable},
    denied::{DeniedJobs, end_denied},
    finish,
    limits::MAX_CLAIMS,
    queue::Queue,
    row,
};

/// The delay until a job that this version could not read is due again, to be claimed by a worker
/// of the version that wrote it.
const UNREADABLE_FOR: Duration = Duration::from_secs(30);

/// The maximum number of attempts of a claim that finds only jobs that end instead.
const MAX_TRIES: usize = 5;

/// Claims due jobs. Jobs whose access was ended in the meantime, and jobs whose content cannot be
/// decrypted, are ended instead.
pub async fn claim(
    queue: &Queue,
    turn: &mut Turn,
    options: Claim<'_>,
) -> Result<Vec<Claimed>, Failure> {
    for _ in 0..MAX_TRIES {
        let (mut claimed, lost) = claim_any(queue, turn, options).await?;
        let denied = end_if_denied(queue, &claimed).await?;
        claimed.retain(|claimed| !denied.contains(&claimed.lease.job));
        if (denied.is_empty() && lost == 0) || !claimed.is_empty() {
            return Ok(claimed);
        }
    }
    Ok(Vec::new())
}

/// Ends the claimed jobs whose access was ended, together with all other such jobs of their owners,
/// so that later claims do not find those. Returns the claimed ones that must not run.
async fn end_if_denied(queue: &Queue, claimed: &[Claimed]) -> Result<BTreeSet<JobId>, Failure> {
    let callers: Vec<_> = claimed.iter().map(|it| &it.attempt.call.caller).collect();
    let reasons = queue.access().ended(&callers).await?;
    let denied = claimed.iter().zip(reasons).filter(|(_, reason)| reason.is_some());
    let denied: Vec<_> = denied.map(|(claimed, _)| claimed).collect();
    let owners: BTreeSet<_> = denied.iter().map(|it| &it.lease.owner).collect();
    for owner in owners {
        end_denied(queue, &DeniedJobs::OfPerson(UserId::new(owner.as_str()))).await?;
    }
    Ok(denied.into_iter().map(|it| it.lease.job.clone()).collect())
}

/// Returns the claimed jobs, and the number of jobs that failed because their content cannot be
/// decrypted.
async fn claim_any(
    queue: &Queue,
    turn: &mut Turn,
    options: Claim<'_>,
) -> Result<(Vec<Claimed>, usize), Failure> {
    let mut rows = take(queue, turn, options).await?;
    // No owner after the position has a due job: start over with the first one.
    if rows.is_empty() && !turn.0.is_empty() {
        turn.0.clear();
        rows = take(queue, turn, options).await?;
    }
    if let Some(last) = rows.iter().map(|it| &it.owner_sub).max() {
        turn.0.clone_from(last);
    }
    let mut children = children(queue, &rows).await?;
    let (mut claimed, mut lost) = (Vec::with_capacity(rows.len()), Vec::new());
    for mut row in rows {
        let children = children.remove(&row.id).unwrap_or_default();
        match read(queue.content_keys(), &mut row, children) {
            Ok(job) => claimed.push(job),
            Err(error) if is_lost(&error) => {
                tracing::error!(
                    error = ?error, job = row.id, tool = row.tool,
                    "Could not decrypt a claimed job; it fails"
                );
                lost.extend(last_attempt(&row).ok());
            }
            Err(error) => {
                tracing::error!(
                    dependency = error.dependency(), error = ?error, job = row.id,
                    "Could not read a claimed job; it is not run here"
                );
                // A job that was still unreadable at its last permitted claim keeps its lease, and
                // is reclaimed like a lost one when the lease expires.
                if row::count(row.attempt) < MAX_CLAIMS
                    && let Err(error) = finish::requeue(queue, &row, UNREADABLE_FOR).await
                {
                    tracing::warn!(
                        dependency = error.dependency(), error = ?error,
                        "Could not requeue a job; it is reclaimed when its lease expires"
                    );
                }
            }
        }
    }
    if !lost.is_empty()
        && let Err(error) = finish::finish(queue, &lost).await
    {
        tracing::warn!(
            dependency = error.dependency(), error = ?error,
            "Could not fail jobs that cannot be decrypted; they are reclaimed when their leases expire"
        );
    }
    Ok((claimed, lost.len()))
}

/// The end of a claimed job whose content cannot be decrypted: it fails, without further attempts.
fn last_attempt(row: &Model) -> Result<(Lease, End), Failure> {
    let lease = row::lease(row, &row::call(row)?)?;
    Ok((Lease { max_attempts: 0, ..lease }, End::Retry(LOST_CONTENT.to_owned())))
}

async fn take(queue: &Queue, turn: &Turn, options: Claim<'_>) -> Result<Vec<Model>, Failure> {
    let now = queue.clock().now();
    let excluded = options.excluded_owners.unwrap_or_default();
    // An excluded owner takes a step as well.
    let steps = i64::from(options.max) + i64::try_from(excluded.len()).unwrap_or(i64::MAX);
    let values: [Value; 8] = [
        serde_json::to_string(excluded).map_err(internal)?.into(),
        turn.0.as_str().into(),
        now.into(),
        steps.into(),
        i64::from(options.max).into(),
        options.excluded_owners.is_some().into(),
        later(now, options.lease).into(),
        options.worker.into(),
    ];
    let backend = queue.db().get_database_backend();
    let sql = if backend == DbBackend::Postgres { &*POSTGRES } else { &*SQLITE };
    let rows = dialect::rows(queue.db(), sql.as_str(), values).await?;
    Ok(rows.iter().map(|row| Model::from_query_result(row, "")).collect::<Result<_, _>>()?)
}

/// Finds owners with a due job, one index step for each, and the maximum number of jobs to take
/// from each of them.
const OWNERS: &str = "
WITH RECURSIVE owners (owner_sub, step) AS (
    SELECT * FROM (SELECT owner_sub, 1 FROM jobs
        WHERE status = 'queued' AND owner_sub > $2 AND run_at <= $3
        ORDER BY owner_sub LIMIT 1) AS first
    UNION ALL
    SELECT (SELECT owner_sub FROM jobs
        WHERE status = 'queued' AND owner_sub > owners.owner_sub AND run_at <= $3
        ORDER BY owner_sub LIMIT 1), step + 1
    FROM owners WHERE owner_sub IS NOT NULL AND step < $4
),
turns AS {materialized} (
    SELECT owner_sub FROM owners
    WHERE owner_sub IS NOT NULL AND owner_sub NOT IN (SELECT {excepted})
),
share AS {materialized} (
    SELECT CASE WHEN $6 OR count(*) = 0 THEN 1 ELSE ($5 + count(*) - 1) / count(*) END AS most
    FROM turns
)";

const TAKE: &str = "
UPDATE jobs SET status = 'running', attempt = attempt + 1, lease_until = $7, worker = $8,
    updated_at = $3";

static POSTGRES: LazyLock<String> = LazyLock::new(|| {
    let owners = OWNERS
        .replace("{materialized}", "MATERIALIZED")
        .replace("{excepted}", "json_array_elements_text($1::json)");
    format!(
        "{owners},
picked AS MATERIALIZED (
    SELECT theirs.id FROM turns CROSS JOIN LATERAL (
        SELECT id FROM jobs
        WHERE status = 'queued' AND jobs.owner_sub = turns.owner_sub AND run_at <= $3
        ORDER BY run_at, id LIMIT (SELECT most FROM share) FOR UPDATE SKIP LOCKED
    ) AS theirs LIMIT $5
)
{TAKE}
FROM picked WHERE jobs.id = picked.id RETURNING jobs.*"
    )
});

static SQLITE: LazyLock<String> = LazyLock::new(|| {
    let owners = OWNERS
        .replace("{materialized}", "MATERIALIZED")
        .replace("{excepted}", "value FROM json_each($1)");
    format!(
        "{TAKE}
WHERE id IN (
    {owners}
    SELECT theirs.id FROM turns CROSS JOIN jobs AS theirs ON theirs.id IN (
        SELECT id FROM jobs
        WHERE status = 'queued' AND jobs.owner_sub = turns.owner_sub AND run_at <= $3
        ORDER BY run_at, id LIMIT (SELECT most FROM share)
    ) LIMIT $5
) RETURNING *"
    )
});

/// The id, parent, key and outcome of an ended child.
type EndedChild = (String, Option<String>, Option<String>, Option<String>);

/// Loads the outcomes of ended children of these jobs, by parent and key. Only a job that has run
/// before can have children.
async fn children(
    queue: &Queue,
    rows: &[Model],
) -> Result<BTreeMap<String, BTreeMap<String, JobOutcome>>, Failure> {
    let retried: Vec<_> = rows.iter().filter(|it| it.attempt > 1).map(|it| &*it.id).collect();
    if retried.is_empty() {
        return Ok(BTreeMap::new());
    }
    let found: Vec<EndedChild> = Entity::find()
        .select_only()
        .columns([Column::Id, Column::ParentId, Column::ParentKey, Column::Outcome])
        .filter(COLUMN.parent_id.is_in(retried))
        .filter(COLUMN.ended_at.is_not_null())
        .into_tuple()
        .all(queue.db())
        .await?;
    let mut children: BTreeMap<String, BTreeMap<String, JobOutcome>> = BTreeMap::new();
    for (id, parent, key, outcome) in found {
        let (Some(parent), Some(key)) = (parent, key) else { continue };
        let content = Content::of(queue.content_keys(), &id);
        let outcome = match outcome.as_deref().map(|it| content.decode(Column::Outcome, it)) {
            Some(Ok(outcome)) => outcome,
            Some(Err(error)) => {
                tracing::error!(error = ?error, job = parent, "Could not read a child's outcome");
                JobOutcome::failed("The result of this child job cannot be read.")
            }
            None => JobOutcome::failed("This child job was cancelled."),
        };
        children.entry(parent).or_default().insert(key, outcome);
    }
    Ok(children)
}

fn read(
    keys: &ContentKeys,
    row: &mut Model,
    children: BTreeMap<String, JobOutcome>,
) -> Result<Claimed, Failure> {
    let call = row::complete_call(keys, row)?;
    let lease = row::lease(row, &call)?;
    let attempt = Attempt {
        id: lease.job.clone(),
        number: lease.number,
        last: lease.failures + 1 >= lease.max_attempts,
        timeout: row::duration(row.timeout_ms),
        call,
        answers: row::answers(keys, row)?,
        children,
        follows_loss: row.lost_attempt == Some(row.attempt - 1),
        progress: row::progress(keys, row),
        checkpoint: row
            .checkpoint
            .as_deref()
            .map(|it| Content::of(keys, &row.id).decode(Column::Checkpoint, it))
            .transpose()
            .map_err(|error| unreadable("the checkpoint", error))?,
    };
    // Claiming has just set `updated_at`.
    let waited = (row.updated_at - row.run_at).to_std().unwrap_or_default();
    Ok(Claimed { attempt, lease, waited })
}
