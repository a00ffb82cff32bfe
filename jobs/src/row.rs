//! Conversion between the rows of the table and the engine's types.

use std::{borrow::Cow, collections::BTreeMap, mem, time::Duration};

use anyhow::anyhow;
use chrono::{DateTime, Utc};
use entity::{
    GrantId, Kid,
    jobs::{Column, Model, Status},
};
use mcp::{
    Caller, ClientAnswer, ContentKeys, Question,
    job::{Job, JobCall, JobId, JobOutcome, JobStatus, NewJob, Origin, Progress},
};
use platform::db::Failure;
use runner::Lease;
use serde_json::value::RawValue;

use crate::{
    content::{Content, LOST_CONTENT, is_lost},
    convert::unreadable,
    encoding::{decode, encode},
    limits::{MAX_CLAIMS, RESULT_TTL, RESULT_TTL_BOUNDS},
};

pub(super) fn id(row: &Model) -> Result<JobId, Failure> {
    JobId::parse(&row.id).ok_or_else(|| unreadable("the id", anyhow!("it is “{}”", row.id)))
}

/// Encodes a call as two columns: the call without its arguments, and the arguments.
pub(super) fn encode_call(
    content: Content<'_>,
    mut call: JobCall,
) -> Result<(String, String), Failure> {
    let arguments = mem::replace(&mut call.arguments, RawValue::NULL.to_owned());
    Ok((encode(&call)?, content.seal(Column::Arguments, arguments.get())))
}

/// The grant and the key of the access token of a call. `None` for tokens of another kind, such as
/// those from the command line.
pub(super) fn grant_and_key(caller: &Caller) -> (Option<GrantId>, Option<Kid>) {
    (caller.grant.parse().ok(), (!caller.key.is_empty()).then(|| Kid(caller.key.to_string())))
}

pub(super) fn lease(row: &Model, call: &JobCall) -> Result<Lease, Failure> {
    Ok(Lease {
        job: id(row)?,
        number: count(row.attempt),
        owner: row.owner_sub.clone(),
        tool: row.tool.clone(),
        failures: count(row.failures),
        max_attempts: count(row.max_attempts),
        keep: duration(row.keep_ms),
        parent: row.parent_id.as_deref().and_then(JobId::parse),
        notifies_client: matches!(call.origin, Origin::Stream { .. }),
    })
}

/// Whether a job has been claimed [`MAX_CLAIMS`] times.
pub(super) fn has_reached_max_claims(lease: &Lease) -> bool {
    lease.number >= MAX_CLAIMS
}

/// The call without its arguments, which most readers do not need.
pub(super) fn call(row: &Model) -> Result<JobCall, Failure> {
    decode(&row.call).map_err(|error| unreadable("the call", error))
}

/// The complete call, to run it. Takes the arguments out of `row`.
pub(super) fn complete_call(keys: &ContentKeys, row: &mut Model) -> Result<JobCall, Failure> {
    let mut call = call(row)?;
    // Rows from before the column existed have the arguments in the call.
    if let Some(arguments) = row.arguments.take() {
        let opened = Content::of(keys, &row.id).open(Column::Arguments, &arguments);
        let arguments = opened.and_then(|text| Ok(RawValue::from_string(text.into_owned())?));
        call.arguments = arguments.map_err(|error| unreadable("the arguments", error))?;
    }
    Ok(call)
}

pub(super) fn answers(
    keys: &ContentKeys,
    row: &Model,
) -> Result<BTreeMap<String, ClientAnswer>, Failure> {
    Content::of(keys, &row.id)
        .decode_or_default(Column::Answers, row.answers.as_deref())
        .map_err(|error| unreadable("the answers", error))
}

/// The questions that are still open; empty unless the job requires input.
pub(super) fn open_questions(
    keys: &ContentKeys,
    row: &Model,
) -> Result<BTreeMap<String, Question>, Failure> {
    if row.status != Status::InputRequired {
        return Ok(BTreeMap::new());
    }
    let mut questions: BTreeMap<String, Question> = Content::of(keys, &row.id)
        .decode_or_default(Column::Questions, row.questions.as_deref())
        .map_err(|error| unreadable("the questions", error))?;
    let answers = answers(keys, row)?;
    questions.retain(|key, _| !answers.contains_key(key));
    Ok(questions)
}

fn outcome(keys: &ContentKeys, row: &Model) -> Result<Option<JobOutcome>, Failure> {
    let content = Content::of(keys, &row.id);
    let outcome = row.outcome.as_deref().map(|it| content.decode(Column::Outcome, it)).transpose();
    outcome.map_err(|error| unreadable("the outcome", error))
}

/// The last progress. A message that cannot be decrypted is left out.
pub(super) fn progress(keys: &ContentKeys, row: &Model) -> Option<Progress> {
    let message = row.message.as_deref().and_then(|message| {
        let opened = Content::of(keys, &row.id).open(Column::Message, message);
        let opened = opened.inspect_err(|error| {
            tracing::debug!(error = ?error, job = row.id, "Could not decrypt a progress message");
        });
        opened.ok().map(Cow::into_owned)
    });
    Some(Progress { done: row.progress?, total: row.total, message })
}

pub(super) fn status(status: Status) -> JobStatus {
    match status {
        Status::Queued => JobStatus::Queued,
        Status::Running | Status::Waiting => JobStatus::Running,
        Status::InputRequired => JobStatus::InputRequired,
        Status::Completed => JobStatus::Completed,
        Status::Failed => JobStatus::Failed,
        Status::Cancelled => JobStatus::Cancelled,
    }
}

/// The status of a job that has not been claimed since it was read with this status.
pub(super) fn stored_status(status: JobStatus) -> Status {
    match status {
        JobStatus::Queued => Status::Queued,
        JobStatus::Running => Status::Running,
        JobStatus::InputRequired => Status::InputRequired,
        JobStatus::Completed => Status::Completed,
        JobStatus::Failed => Status::Failed,
        JobStatus::Cancelled => Status::Cancelled,
    }
}

/// Converts a row to the engine's type. A job whose questions or result cannot be decrypted is
/// presented as failed; the row stays as it is (see [`crate::lost::job`]).
pub(super) fn job(keys: &ContentKeys, row: &Model) -> Result<Job, Failure> {
    let mut job = job_without_content(keys, row)?;
    let content = open_questions(keys, row).and_then(|it| Ok((it, outcome(keys, row)?)));
    match content {
        Ok((questions, outcome)) => (job.questions, job.outcome) = (questions, outcome),
        Err(error) if is_lost(&error) => {
            tracing::error!(
                error = ?error, job = row.id, tool = row.tool,
                "Could not decrypt a job; it is shown as failed"
            );
            // The status of an ended job is needed to mark it as delivered.
            if !job.status.is_final() {
                job.status = JobStatus::Failed;
            }
            job.outcome = Some(JobOutcome::failed(LOST_CONTENT));
        }
        Err(other) => return Err(other),
    }
    Ok(job)
}

fn job_without_content(keys: &ContentKeys, row: &Model) -> Result<Job, Failure> {
    let call = call(row)?;
    let kept = row.expires_at.map(|expires_at| expires_at - row.created_at);
    let ttl = kept.and_then(|kept| kept.to_std().ok());
    Ok(Job {
        id: id(row)?,
        version: call.version,
        tool: call.tool,
        status: status(row.status),
        progress: progress(keys, row),
        questions: BTreeMap::new(),
        outcome: None,
        origin: call.origin,
        created_at: row.created_at.timestamp_millis(),
        updated_at: row.updated_at.timestamp_millis(),
        // While the job is unfinished, this is the minimum.
        ttl: ttl.unwrap_or_else(|| duration(row.keep_ms)),
    })
}

/// The job of a row that is being inserted.
pub(super) fn fresh(new: &NewJob, now: DateTime<Utc>) -> Job {
    Job {
        id: new.id.clone(),
        version: new.call.version,
        tool: new.call.tool.clone(),
        status: JobStatus::Queued,
        progress: None,
        questions: BTreeMap::new(),
        outcome: None,
        origin: new.call.origin.clone(),
        created_at: now.timestamp_millis(),
        updated_at: now.timestamp_millis(),
        ttl: result_ttl(new),
    }
}

/// How long the result of a new job will be kept.
pub(super) fn result_ttl(new: &NewJob) -> Duration {
    let (least, most) = RESULT_TTL_BOUNDS;
    new.ttl.unwrap_or(RESULT_TTL).clamp(least, most)
}

/// A duration from a column in milliseconds.
pub(super) fn duration(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

/// A number from a column that is never negative.
pub(super) fn count(number: i32) -> u32 {
    u32::try_from(number).unwrap_or(0)
}
