//! Taking jobs from the queue, so that nobody's many delay somebody else's few.
//!
//! The queue is read from owner to owner, along one index: each jump finds the next person who has
//! a job that is due, however many jobs lie between. Everybody gets the same share of a claim, and
//! the next claim goes on where this one ended ([`Turn`]). So a claim costs as much as it takes, and
//! the one job of a person waits for one round, not for the thousand of another.
//!
//! That alone would not help against jobs that take minutes: once they have every place of a worker,
//! all others wait. So a worker keeps some of its places for people who have nothing running there,
//! and fills them with [`Claim::newcomers_only`].

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
    time::Duration,
};

use entity::jobs::{COLUMN, Column, Entity, Model};
use mcp::{
    UserId,
    job::{Attempt, JobId, JobOutcome},
};
use platform::db::Failure;
use platform::db::dialect;
use sea_orm::{
    DbBackend, EntityTrait as _, FromQueryResult as _, QueryFilter as _, QuerySelect as _, Value,
};

use crate::{
    convert::later,
    denied::{DeniedJobs, end_denied},
    limits::MAX_CLAIMS,
    queue::Queue,
    row::{self, Lease},
    settle,
};

/// How long a job stays in the queue that this version cannot read. A worker of the version that
/// wrote it will come by before.
const UNREADABLE_FOR: Duration = Duration::from_secs(30);

/// Whose turn it is: everybody after this owner, then everybody from the beginning.
#[derive(Clone, Debug, Default)]
pub struct Turn(String);

/// What to take.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// Who takes it, for people who look at the table.
    pub worker: &'a str,
    /// How many at most.
    pub max: u32,
    /// How long the worker may be silent about them.
    pub lease: Duration,
    /// If given: not from these people, and one from each other at most.
    pub newcomers_only: Option<&'a [String]>,
}

/// A job that now belongs to whoever claimed it.
#[derive(Debug)]
pub struct Claimed {
    /// What to run.
    pub attempt: Attempt,
    /// What proves that it may write.
    pub lease: Lease,
    /// How long it could have run before.
    pub waited: Duration,
}

/// How often a claim looks again that brought nothing but jobs whose access was ended.
const MAX_LOOKS: usize = 5;

/// Takes some jobs that are due. Those whose access was ended meanwhile are ended instead.
pub async fn claim(
    queue: &Queue,
    turn: &mut Turn,
    what: Claim<'_>,
) -> Result<Vec<Claimed>, Failure> {
    for _ in 0..MAX_LOOKS {
        let mut claimed = claim_any(queue, turn, what).await?;
        let denied = end_those_denied(queue, &claimed).await?;
        claimed.retain(|it| !denied.contains(&it.lease.job));
        if denied.is_empty() || !claimed.is_empty() {
            return Ok(claimed);
        }
    }
    Ok(Vec::new())
}

/// Ends those of some jobs whose access was ended, with all others of theirs, so that no further
/// claim comes upon those. Gives the ones that are not to be run.
async fn end_those_denied(queue: &Queue, claimed: &[Claimed]) -> Result<BTreeSet<JobId>, Failure> {
    let callers: Vec<_> = claimed.iter().map(|it| &it.attempt.call.caller).collect();
    let answers = queue.access().ended(&callers).await?;
    let denied = claimed.iter().zip(answers).filter(|(_, denied)| denied.is_some());
    let denied: Vec<_> = denied.map(|(claimed, _)| claimed).collect();
    let owners: BTreeSet<_> = denied.iter().map(|it| &it.lease.owner).collect();
    for owner in owners {
        end_denied(queue, &DeniedJobs::OfPerson(UserId::new(owner.as_str()))).await?;
    }
    Ok(denied.into_iter().map(|it| it.lease.job.clone()).collect())
}

async fn claim_any(
    queue: &Queue,
    turn: &mut Turn,
    what: Claim<'_>,
) -> Result<Vec<Claimed>, Failure> {
    let mut rows = take(queue, turn, what).await?;
    // Everybody after the turn had nothing, so it is the turn of those before.
    if rows.is_empty() && !turn.0.is_empty() {
        turn.0.clear();
        rows = take(queue, turn, what).await?;
    }
    if let Some(last) = rows.iter().map(|it| &it.owner_sub).max() {
        turn.0.clone_from(last);
    }
    let mut children = children(queue, &rows).await?;
    let mut claimed = Vec::with_capacity(rows.len());
    for mut row in rows {
        let children = children.remove(&row.id).unwrap_or_default();
        match read(&mut row, children) {
            Ok(it) => claimed.push(it),
            Err(error) => {
                tracing::error!(
                    dependency = error.dependency(), error = ?error, job = row.id,
                    "A job cannot be read: {error}"
                );
                // One that nobody can read keeps its lease, and is given up like one that was lost.
                if row::count(row.attempt) < MAX_CLAIMS
                    && let Err(error) = settle::put_back(queue, &row, UNREADABLE_FOR).await
                {
                    tracing::warn!(
                        dependency = error.dependency(), error = ?error,
                        "A job could not be put back: {error}"
                    );
                }
            }
        }
    }
    Ok(claimed)
}

async fn take(queue: &Queue, turn: &Turn, what: Claim<'_>) -> Result<Vec<Model>, Failure> {
    let now = queue.clock().now();
    let except = what.newcomers_only.unwrap_or_default();
    // Who is passed over costs a step, too.
    let steps = i64::from(what.max) + i64::try_from(except.len()).unwrap_or(i64::MAX);
    let values: [Value; 8] = [
        serde_json::to_string(except).map_err(crate::convert::internal)?.into(),
        turn.0.as_str().into(),
        now.into(),
        steps.into(),
        i64::from(what.max).into(),
        what.newcomers_only.is_some().into(),
        later(now, what.lease).into(),
        what.worker.into(),
    ];
    let backend = queue.db().get_database_backend();
    let sql = if backend == DbBackend::Postgres { &*POSTGRES } else { &*SQLITE };
    let rows = dialect::rows(queue.db(), sql.as_str(), values).await?;
    Ok(rows.iter().map(|it| Model::from_query_result(it, "")).collect::<Result<_, _>>()?)
}

/// Owners who have something that is due, one jump of the index for each; and how many jobs each of
/// them may give.
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

/// What became of the children of these jobs, by parent and key. Only a job that ran before can
/// have any.
async fn children(
    queue: &Queue,
    rows: &[Model],
) -> Result<BTreeMap<String, BTreeMap<String, JobOutcome>>, Failure> {
    let again: Vec<_> = rows.iter().filter(|it| it.attempt > 1).map(|it| &*it.id).collect();
    if again.is_empty() {
        return Ok(BTreeMap::new());
    }
    let found: Vec<(Option<String>, Option<String>, Option<String>)> = Entity::find()
        .select_only()
        .columns([Column::ParentId, Column::ParentKey, Column::Outcome])
        .filter(COLUMN.parent_id.is_in(again))
        .filter(COLUMN.ended_at.is_not_null())
        .into_tuple()
        .all(queue.db())
        .await?;
    let mut children: BTreeMap<String, BTreeMap<String, JobOutcome>> = BTreeMap::new();
    for (parent, key, outcome) in found {
        let (Some(parent), Some(key)) = (parent, key) else { continue };
        let outcome = match outcome.as_deref().map(row::decode) {
            Some(Ok(outcome)) => outcome,
            Some(Err(error)) => {
                tracing::error!(error = ?error, job = parent, "A part cannot be read: {error}");
                JobOutcome::failed("The result of this part cannot be read.")
            }
            None => JobOutcome::failed("This part was cancelled."),
        };
        children.entry(parent).or_default().insert(key, outcome);
    }
    Ok(children)
}

fn read(row: &mut Model, children: BTreeMap<String, JobOutcome>) -> Result<Claimed, Failure> {
    let call = row::whole_call(row)?;
    let lease = row::lease(row, &call)?;
    let attempt = Attempt {
        id: lease.job.clone(),
        number: lease.number,
        last: lease.failures + 1 >= lease.max_attempts,
        timeout: row::duration(row.timeout_ms),
        call,
        answers: row::answers(row)?,
        children,
        progress: row::progress(row),
        checkpoint: row
            .checkpoint
            .as_deref()
            .map(row::decode)
            .transpose()
            .map_err(|error| crate::convert::unreadable("the checkpoint", error))?,
    };
    // Claiming wrote `updated_at`.
    let waited = (row.updated_at - row.run_at).to_std().unwrap_or_default();
    Ok(Claimed { attempt, lease, waited })
}
