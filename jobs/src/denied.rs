//! Ends jobs whose access was ended: the person was blocked, the app was disconnected, or the key
//! that signed the token that started them was revoked.
//!
//! A job acts with the access of the token that started it ([`Access`](crate::queue::Access)). When
//! that access ends, the unfinished jobs end with it, whether they are queued, running, or waiting
//! for the client or for their children. This also holds when a person disconnects a single app:
//! its jobs stop, and `jobs_list` still shows them, so that the person can start them again with
//! another app.
//!
//! [`end_denied`] is called after each revocation, so that it takes effect at once; when jobs are
//! claimed, for jobs that were queued a moment too late; and at each heartbeat, for jobs that were
//! claimed a moment too late. Later writes of a running attempt change nothing.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use entity::{GrantId, Kid, jobs::Column, oauth_grants};
use mcp::{
    ContentKeys, Signal, UserId,
    job::{JobCall, JobId, JobOutcome, Origin},
};
use platform::db::{self, Failure, dialect};
use sea_orm::{ConnectionTrait as _, DbBackend};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    attempt,
    content::Content,
    convert::{internal, later},
    encoding, finish,
    queue::Queue,
    row,
};

/// The most jobs that one transaction examines and ends: few enough that it holds its locks
/// briefly.
const BATCH: usize = 500;

/// Selects the jobs to examine.
#[derive(Clone, Debug)]
pub enum DeniedJobs {
    /// All jobs of a person.
    OfPerson(UserId),
    /// Jobs started under these grants, each with its owner.
    OfGrants(Vec<(String, GrantId)>),
    /// Jobs started with tokens that this key signed.
    OfKey(Kid),
    /// These jobs.
    These(Vec<JobId>),
}

impl DeniedJobs {
    /// Selects the jobs of these grants; an empty list if there are no grants.
    pub fn of_grants(grants: &[oauth_grants::Model]) -> Vec<Self> {
        if grants.is_empty() {
            return Vec::new();
        }
        vec![Self::OfGrants(
            grants.iter().map(|grant| (grant.user_sub.clone(), grant.id)).collect(),
        )]
    }

    fn given(&self) -> Value {
        match self {
            Self::OfPerson(user) => json!([{ "owner": user }]),
            Self::OfGrants(grants) => grants
                .iter()
                .map(|(owner, grant)| json!({ "owner": owner, "grant_id": grant }))
                .collect(),
            Self::OfKey(key) => json!([{ "signer": key }]),
            Self::These(jobs) => jobs.iter().map(|job| json!({ "job": job })).collect(),
        }
    }

    fn condition(&self, backend: DbBackend) -> &'static str {
        match (self, backend) {
            (Self::OfPerson(_), _) => "jobs.owner_sub = given.owner",
            (Self::OfGrants(_), DbBackend::Postgres) => {
                "jobs.owner_sub = given.owner AND jobs.grant_id = given.grant_id"
            }
            // SQLite stores UUIDs as bytes.
            (Self::OfGrants(_), _) => {
                "jobs.owner_sub = given.owner
                    AND jobs.grant_id = unhex(replace(given.grant_id, '-', ''))"
            }
            (Self::OfKey(_), _) => "jobs.key_id = given.signer",
            (Self::These(_), _) => "jobs.id = given.job",
        }
    }
}

/// Ends those of the selected jobs that are unfinished and whose access was ended, and returns
/// their ids. Safe to repeat.
pub async fn end_denied(queue: &Queue, which: &DeniedJobs) -> Result<Vec<JobId>, Failure> {
    let mut ended = Vec::new();
    let mut after = String::new();
    loop {
        let candidates = unfinished(queue, which, &after).await?;
        let count = candidates.len();
        if let Some(last) = candidates.last() {
            after.clone_from(&last.id);
        }
        let denied = denied(queue, candidates).await?;
        if !denied.is_empty() {
            ended.extend(end(queue, &denied).await?);
        }
        if count < BATCH {
            return Ok(ended);
        }
    }
}

/// The columns of a job that are needed to end it.
struct Candidate {
    id: String,
    parent: Option<String>,
    keep_ms: i64,
    call: JobCall,
}

/// Loads unfinished jobs with ids after `after`, in the order of their ids, up to one batch.
async fn unfinished(
    queue: &Queue,
    which: &DeniedJobs,
    after: &str,
) -> Result<Vec<Candidate>, Failure> {
    let backend = queue.db().get_database_backend();
    let columns = [("owner", "text"), ("grant_id", "uuid"), ("signer", "text"), ("job", "text")];
    let sql = format!(
        "SELECT jobs.id, jobs.parent_id, jobs.keep_ms, jobs.call FROM {} JOIN jobs ON {}
        WHERE jobs.ended_at IS NULL AND jobs.id > $2 ORDER BY jobs.id LIMIT {BATCH}",
        dialect::given(backend, &columns),
        which.condition(backend),
    );
    let values = [which.given().to_string().into(), after.into()];
    let mut candidates = Vec::new();
    for row in dialect::rows(queue.db(), sql, values).await? {
        let (id, call): (String, String) = (row.try_get("", "id")?, row.try_get("", "call")?);
        // A job of another program version is ended by a worker that can read it.
        match encoding::decode(&call) {
            Ok(call) => candidates.push(Candidate {
                id,
                parent: row.try_get("", "parent_id")?,
                keep_ms: row.try_get("", "keep_ms")?,
                call,
            }),
            Err(error) => {
                tracing::error!(
                    error = ?error, job = id,
                    "Could not check the access of a job; a worker that can read it ends it"
                );
            }
        }
    }
    Ok(candidates)
}

/// Keeps the candidates whose access was ended, each with the reason.
async fn denied(
    queue: &Queue,
    candidates: Vec<Candidate>,
) -> Result<Vec<(Candidate, &'static str)>, Failure> {
    let callers: Vec<_> = candidates.iter().map(|it| &it.call.caller).collect();
    let reasons = queue.access().ended(&callers).await?;
    let checked = candidates.into_iter().zip(reasons);
    Ok(checked.filter_map(|(candidate, reason)| Some((candidate, reason?))).collect())
}

/// The new values of a row.
#[derive(Serialize)]
struct Write {
    job: String,
    outcome: String,
    error: &'static str,
    announced: bool,
    expires_at: String,
}

impl Write {
    fn new(
        keys: &ContentKeys,
        job: &str,
        candidate: &Candidate,
        reason: &'static str,
        now: DateTime<Utc>,
    ) -> Result<Self, Failure> {
        let notifies_client = matches!(candidate.call.origin, Origin::Stream { .. });
        Ok(Self {
            job: job.to_owned(),
            outcome: Content::of(keys, job).encode(Column::Outcome, &JobOutcome::failed(reason))?,
            error: reason,
            announced: !notifies_client,
            expires_at: later(now, row::duration(candidate.keep_ms)).to_rfc3339(),
        })
    }
}

async fn end(queue: &Queue, denied: &[(Candidate, &'static str)]) -> Result<Vec<JobId>, Failure> {
    let (keys, now) = (queue.content_keys(), queue.clock().now());
    let mut writes = BTreeMap::new();
    for (candidate, reason) in denied {
        // A parent has the same access as its children, and would wait for them in vain.
        if let Some(parent) = &candidate.parent {
            let end = Write::new(keys, parent, candidate, reason, now)?;
            writes.entry(parent.clone()).or_insert(end);
        }
        let end = Write::new(keys, &candidate.id, candidate, reason, now)?;
        writes.insert(candidate.id.clone(), end);
    }
    let (parents, others): (BTreeSet<_>, BTreeSet<_>) = writes
        .keys()
        .cloned()
        .partition(|id| denied.iter().all(|(job, _)| job.id != *id || job.parent.is_none()));

    let transaction = db::begin(queue.db()).await?;
    // In the order in which ends are written: parents before their children.
    finish::lock(&transaction, &parents).await?;
    finish::lock(&transaction, &others).await?;
    let sql = format!(
        "UPDATE jobs SET status = 'failed', ended_at = $2, updated_at = $2, outcome = given.outcome,
            error = given.error, announced = given.announced,
            expires_at = CASE WHEN jobs.parent_id IS NULL THEN given.expires_at
                ELSE jobs.expires_at END,
            lease_until = NULL, questions = NULL, arguments = NULL, checkpoint = NULL
        FROM {} WHERE jobs.id = given.job AND jobs.ended_at IS NULL
        RETURNING id, tool, worker",
        dialect::given(transaction.get_database_backend(), COLUMNS),
    );
    let given = serde_json::to_string(&writes.into_values().collect::<Vec<_>>());
    let values = [given.map_err(internal)?.into(), now.into()];
    let rows = dialect::rows(&transaction, sql, values).await?;
    let ended = attempt::ids(&rows)?;
    transaction.commit().await?;

    let mut running = Vec::new();
    for row in rows {
        let (tool, worker): (String, Option<String>) =
            (row.try_get("", "tool")?, row.try_get("", "worker")?);
        queue.count_job(&tool, "cancelled");
        if worker.is_some() {
            queue.count_attempt(&tool, "cancelled");
            running.extend(JobId::parse(&row.try_get::<String>("", "id")?));
        }
    }
    tracing::info!(count = ended.len(), "Ended jobs whose access had ended");
    let signals = running.into_iter().map(|job| Signal::JobCancelled { job });
    queue.changed(signals.collect()).await;
    queue.jobs_changed(ended.iter().cloned()).await;
    Ok(ended.into_iter().collect())
}

const COLUMNS: &[dialect::Column] = &[
    ("job", "text"),
    ("outcome", "text"),
    ("error", "text"),
    ("announced", "boolean"),
    ("expires_at", "timestamptz"),
];
