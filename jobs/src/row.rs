//! What stands in a row, and what it means. JSON carries the version of its form, so that an
//! instance of another version, during a deploy, knows what it cannot read.

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
    convert::unreadable,
    limits::{KEPT, KEPT_BOUNDS, MAX_CLAIMS},
};

/// The form of the JSON that this version writes.
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

/// As it is kept.
pub(super) fn encode(it: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(&Writing { v: VERSION, it }).map_err(crate::convert::internal)
}

/// What was kept.
pub(super) fn decode<T: DeserializeOwned>(text: &str) -> anyhow::Result<T> {
    let Version { v } = serde_json::from_str(text).context("it has no version")?;
    if v != VERSION {
        bail!("it has version {v}, and this program knows version {VERSION}");
    }
    Ok(serde_json::from_str::<Reading<T>>(text)?.it)
}

/// The same for what may be absent.
pub(super) fn decode_or_default<T: DeserializeOwned + Default>(
    text: Option<&str>,
) -> anyhow::Result<T> {
    text.map_or_else(|| Ok(T::default()), decode)
}

pub(super) fn id(row: &Model) -> Result<JobId, Failure> {
    JobId::parse(&row.id).ok_or_else(|| unreadable("the id", anyhow!("it is “{}”", row.id)))
}

/// A call as it is kept: all but its arguments, and these.
pub(super) fn encode_call(mut call: JobCall) -> Result<(String, String), Failure> {
    let arguments = mem::replace(&mut call.arguments, RawValue::NULL.to_owned());
    Ok((encode(&call)?, Box::<str>::from(arguments).into()))
}

/// The grant and the key of the access token that a call came with. `None` if it came with a token of
/// another kind, such as one from the command line.
pub(super) fn grant_and_key(caller: &Caller) -> (Option<GrantId>, Option<Kid>) {
    (caller.grant.parse().ok(), (!caller.key.is_empty()).then(|| Kid(caller.key.to_string())))
}

/// What an attempt needs to know of its row to write the end of it.
#[derive(Clone, Debug)]
pub struct Lease {
    /// Which job.
    pub job: JobId,
    /// Which attempt.
    pub number: u32,
    /// Whose.
    pub owner: String,
    pub(super) tool: String,
    pub(super) failures: u32,
    pub(super) max_attempts: u32,
    pub(super) keep: Duration,
    pub(super) parent: Option<JobId>,
    /// Whether somebody has to tell the client of what becomes of it.
    pub(super) client_is_told: bool,
}

/// The lease of a claimed job.
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
        client_is_told: matches!(call.origin, Origin::Stream { .. }),
    })
}

impl Lease {
    /// Whether the job was claimed so often that something must be wrong with it.
    pub(super) fn is_worn_out(&self) -> bool {
        self.number >= MAX_CLAIMS
    }
}

/// The call without its arguments, which few who look at a job need.
pub(super) fn call(row: &Model) -> Result<JobCall, Failure> {
    decode(&row.call).map_err(|error| unreadable("the call", error))
}

/// The whole call, to run it.
pub(super) fn whole_call(row: &mut Model) -> Result<JobCall, Failure> {
    let mut call = call(row)?;
    // A row from before they had a column has them in the call.
    if let Some(arguments) = row.arguments.take() {
        let arguments = RawValue::from_string(arguments);
        call.arguments = arguments.map_err(|error| unreadable("the arguments", error))?;
    }
    Ok(call)
}

pub(super) fn answers(row: &Model) -> Result<BTreeMap<String, ClientAnswer>, Failure> {
    decode_or_default(row.answers.as_deref()).map_err(|error| unreadable("the answers", error))
}

/// The questions that are still open.
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

/// The job as the engine sees it.
pub(super) fn job(row: &Model) -> Result<Job, Failure> {
    let call = call(row)?;
    let kept_until = row.expires_at.map(|it| it - row.created_at);
    let ttl = kept_until.and_then(|it| it.to_std().ok());
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
        // While it runs, this is the least that it can be.
        ttl: ttl.unwrap_or_else(|| duration(row.keep_ms)),
    })
}

/// The same where others must not suffer from one that this version cannot read.
pub(super) fn readable_job(row: &Model) -> Option<Job> {
    job(row)
        .inspect_err(|error| {
            tracing::error!(
                dependency = error.dependency(), error = ?error, job = row.id,
                "A job cannot be read: {error}"
            );
        })
        .ok()
}

/// A job that was made just now.
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
        ttl: kept(new),
    }
}

/// How long the result of a new job will be kept.
pub(super) fn kept(new: &NewJob) -> Duration {
    let (least, most) = KEPT_BOUNDS;
    new.ttl.unwrap_or(KEPT).clamp(least, most)
}

/// Milliseconds of a row.
pub(super) fn duration(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

/// A number of a row that is never negative.
pub(super) fn count(number: i32) -> u32 {
    u32::try_from(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use mcp::RpcError;

    use super::*;

    #[test]
    fn what_another_version_wrote_is_not_misread() {
        let text = encode(&"it").unwrap();
        assert_eq!(text, r#"{"v":1,"it":"it"}"#);
        assert_eq!(decode::<String>(&text).unwrap(), "it");
        assert!(decode::<String>(r#"{"v":2,"it":"it"}"#).is_err());
        assert!(decode::<String>(r#""it""#).is_err());
    }

    #[test]
    fn an_outcome_reads_back_byte_by_byte() {
        let text = r#"{ "content": [],  "x": "\u0000" }"#;
        let result = RawValue::from_string(text.to_owned()).unwrap();
        let kept =
            encode(&JobOutcome::Result { result, is_error: false, is_fault: false }).unwrap();
        let JobOutcome::Result { result, is_error: false, .. } = decode(&kept).unwrap() else {
            panic!("a result was kept")
        };
        assert_eq!(result.get(), text);
        let error = RpcError::invalid_params("no");
        let kept = encode(&JobOutcome::Error(error.clone())).unwrap();
        assert!(matches!(decode(&kept).unwrap(), JobOutcome::Error(it) if it == error));
    }
}
