//! Encoding of the columns of a job. Each JSON value contains the version of its format, so that an
//! instance of another version, during a deployment, detects a value that it cannot read.

use std::{collections::BTreeMap, mem, time::Duration};

use anyhow::{Context as _, anyhow, bail};
use chrono::{DateTime, Utc};
use entity::{
    GrantId, Kid,
    jobs::{Model, Status},
};
use mcp::{
    Caller, ClientAnswer, Question,
    job::{Job, JobCall, JobId, JobOutcome, JobStatus, NewJob, Origin, Progress},
};
use platform::db::Failure;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::{
    convert::{internal, unreadable},
    limits::{MAX_CLAIMS, RESULT_TTL, RESULT_TTL_BOUNDS},
};

/// The version of the JSON format that this program writes.
const VERSION: u8 = 1;

#[derive(Serialize)]
struct Writing<'a, T> {
    v: u8,
    it: &'a T,
}

#[derive(Deserialize)]
struct Reading<T> {
    it: T,
}

#[derive(Deserialize)]
struct Version {
    v: u8,
}

/// Encodes a value for a column.
pub(super) fn encode(value: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(&Writing { v: VERSION, it: value }).map_err(internal)
}

/// Decodes a column. Fails if the value has no version, or another version than [`VERSION`].
pub(super) fn decode<T: DeserializeOwned>(text: &str) -> anyhow::Result<T> {
    let Version { v } = serde_json::from_str(text).context("the value has no format version")?;
    if v != VERSION {
        bail!("the value has format version {v}; this program reads version {VERSION}");
    }
    Ok(serde_json::from_str::<Reading<T>>(text)?.it)
}

/// Decodes a column that may be `NULL`; `NULL` is the default value.
pub(super) fn decode_or_default<T: DeserializeOwned + Default>(
    text: Option<&str>,
) -> anyhow::Result<T> {
    text.map_or_else(|| Ok(T::default()), decode)
}

pub(super) fn id(row: &Model) -> Result<JobId, Failure> {
    JobId::parse(&row.id).ok_or_else(|| unreadable("the id", anyhow!("it is “{}”", row.id)))
}

/// Encodes a call as two columns: the call without its arguments, and the arguments.
pub(super) fn encode_call(mut call: JobCall) -> Result<(String, String), Failure> {
    let arguments = mem::replace(&mut call.arguments, RawValue::NULL.to_owned());
    Ok((encode(&call)?, Box::<str>::from(arguments).into()))
}

/// The grant and the key of the access token of a call. `None` for tokens of another kind, such as
/// those from the command line.
pub(super) fn grant_and_key(caller: &Caller) -> (Option<GrantId>, Option<Kid>) {
    (caller.grant.parse().ok(), (!caller.key.is_empty()).then(|| Kid(caller.key.to_string())))
}

/// The data of a claimed job that is needed to write the end of the attempt.
#[derive(Clone, Debug)]
pub struct Lease {
    /// The job.
    pub job: JobId,
    /// The attempt number, which fences its writes.
    pub number: u32,
    /// The owner of the job.
    pub owner: String,
    pub(super) tool: String,
    pub(super) failures: u32,
    pub(super) max_attempts: u32,
    pub(super) keep: Duration,
    pub(super) parent: Option<JobId>,
    /// Whether the client must be notified of results and questions, because its call is a stream.
    pub(super) notifies_client: bool,
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

impl Lease {
    /// Whether the job has been claimed [`MAX_CLAIMS`] times.
    pub(super) fn has_reached_max_claims(&self) -> bool {
        self.number >= MAX_CLAIMS
    }
}

/// The call without its arguments, which most readers do not need.
pub(super) fn call(row: &Model) -> Result<JobCall, Failure> {
    decode(&row.call).map_err(|error| unreadable("the call", error))
}

/// The complete call, to run it. Takes the arguments out of `row`.
pub(super) fn complete_call(row: &mut Model) -> Result<JobCall, Failure> {
    let mut call = call(row)?;
    // Rows from before the column existed have the arguments in the call.
    if let Some(arguments) = row.arguments.take() {
        let arguments = RawValue::from_string(arguments);
        call.arguments = arguments.map_err(|error| unreadable("the arguments", error))?;
    }
    Ok(call)
}

pub(super) fn answers(row: &Model) -> Result<BTreeMap<String, ClientAnswer>, Failure> {
    decode_or_default(row.answers.as_deref()).map_err(|error| unreadable("the answers", error))
}

/// The questions that are still open; empty unless the job requires input.
pub(super) fn open_questions(row: &Model) -> Result<BTreeMap<String, Question>, Failure> {
    if row.status != Status::InputRequired {
        return Ok(BTreeMap::new());
    }
    let mut questions: BTreeMap<String, Question> = decode_or_default(row.questions.as_deref())
        .map_err(|error| unreadable("the questions", error))?;
    let answers = answers(row)?;
    questions.retain(|key, _| !answers.contains_key(key));
    Ok(questions)
}

pub(super) fn outcome(row: &Model) -> Result<Option<JobOutcome>, Failure> {
    let outcome = row.outcome.as_deref().map(decode).transpose();
    outcome.map_err(|error| unreadable("the outcome", error))
}

pub(super) fn progress(row: &Model) -> Option<Progress> {
    Some(Progress { done: row.progress?, total: row.total, message: row.message.clone() })
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

/// Converts a row to the engine's type.
pub(super) fn job(row: &Model) -> Result<Job, Failure> {
    let call = call(row)?;
    let kept = row.expires_at.map(|expires_at| expires_at - row.created_at);
    let ttl = kept.and_then(|kept| kept.to_std().ok());
    Ok(Job {
        id: id(row)?,
        version: call.version,
        tool: call.tool,
        status: status(row.status),
        progress: progress(row),
        questions: open_questions(row)?,
        outcome: outcome(row)?,
        origin: call.origin,
        created_at: row.created_at.timestamp_millis(),
        updated_at: row.updated_at.timestamp_millis(),
        // While the job is unfinished, this is the minimum.
        ttl: ttl.unwrap_or_else(|| duration(row.keep_ms)),
    })
}

/// Converts a row, for lists, which must not fail because of one unreadable job. `None`: this
/// version cannot read the job, and has logged that.
pub(super) fn readable_job(row: &Model) -> Option<Job> {
    job(row)
        .inspect_err(|error| {
            tracing::error!(
                dependency = error.dependency(), error = ?error, job = row.id,
                "Could not read a job; it is left out"
            );
        })
        .ok()
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

#[cfg(test)]
mod tests {
    use mcp::RpcError;

    use super::*;

    #[test]
    fn a_value_of_another_format_version_is_rejected() {
        let text = encode(&"it").unwrap();
        assert_eq!(text, r#"{"v":1,"it":"it"}"#);
        assert_eq!(decode::<String>(&text).unwrap(), "it");
        assert!(decode::<String>(r#"{"v":2,"it":"it"}"#).is_err());
        assert!(decode::<String>(r#""it""#).is_err());
    }

    #[test]
    fn an_outcome_is_restored_byte_for_byte() {
        let text = r#"{ "content": [],  "x": "\u0000" }"#;
        let result = RawValue::from_string(text.to_owned()).unwrap();
        let kept =
            encode(&JobOutcome::Result { result, is_error: false, is_fault: false }).unwrap();
        let JobOutcome::Result { result, is_error: false, .. } = decode(&kept).unwrap() else {
            panic!("expected a result")
        };
        assert_eq!(result.get(), text);
        let error = RpcError::invalid_params("no");
        let kept = encode(&JobOutcome::Error(error.clone())).unwrap();
        assert!(matches!(decode(&kept).unwrap(), JobOutcome::Error(decoded) if decoded == error));
    }
}
