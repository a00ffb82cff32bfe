//! Jobs as clients see them, as tasks: the extension `io.modelcontextprotocol/tasks` of 2026-07-28, and the experimental
//! tasks of 2025-11-25. The two differ in every name that they can, so they share only the job.

use std::{collections::BTreeMap, time::Duration};

use chrono::{DateTime, SecondsFormat};
use serde::Serialize;
use serde_json::{Value, json, value::RawValue};

use super::messages::outcome;
use crate::{
    job::{Job, JobId, JobOutcome, JobStatus},
    question::{InputRequest, input_requests},
    rpc::{RpcError, codes},
    types::ClientCapabilities,
};

/// What a modern client declares that can hold a task handle.
pub(in crate::engine) const EXTENSION: &str = "io.modelcontextprotocol/tasks";

/// How often a client should look, in milliseconds.
const POLL_INTERVAL: u64 = 500;

/// Whether this request declares that its client can hold a task handle.
pub(in crate::engine) fn declared(capabilities: &ClientCapabilities) -> bool {
    capabilities.extensions.contains_key(EXTENSION)
}

/// A request that only a client with tasks may send.
pub(in crate::engine) fn not_declared() -> RpcError {
    RpcError::new(
        codes::MISSING_CLIENT_CAPABILITY,
        format!("this needs a client that declares the extension `{EXTENSION}`"),
    )
    .with_data(json!({ "requiredCapabilities": { "extensions": { EXTENSION: {} } } }))
}

fn time(milliseconds: i64) -> String {
    DateTime::from_timestamp_millis(milliseconds)
        .unwrap_or_default()
        .to_rfc3339_opts(SecondsFormat::Millis, true)
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// What people may read about how far it is.
fn message(job: &Job) -> Option<&str> {
    job.progress.as_ref()?.message.as_deref()
}

// ------------------------------------------------------------------------------------ 2026-07-28

/// A task as 2026-07-28 shows it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::engine) struct ModernTask<'a> {
    task_id: &'a JobId,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_message: Option<&'a str>,
    created_at: String,
    last_updated_at: String,
    ttl_ms: u64,
    poll_interval_ms: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    input_requests: BTreeMap<String, InputRequest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<RpcError>,
}

/// What a client is told again only when it changes.
pub(super) type TaskState = (&'static str, Option<String>, Vec<String>);

impl<'a> ModernTask<'a> {
    /// The handle that answers the call.
    pub(in crate::engine) fn handle(job: &'a Job) -> Self {
        Self {
            task_id: &job.id,
            status: modern_status(job),
            status_message: message(job),
            created_at: time(job.created_at),
            last_updated_at: time(job.updated_at),
            ttl_ms: milliseconds(job.ttl),
            poll_interval_ms: POLL_INTERVAL,
            input_requests: BTreeMap::new(),
            result: None,
            error: None,
        }
    }

    /// With all that there is to know.
    pub(in crate::engine) fn detailed(job: &'a Job) -> Self {
        let mut task = Self::handle(job);
        task.input_requests = input_requests(&job.questions);
        match task.status {
            "completed" | "failed" => match outcome(job) {
                JobOutcome::Result { result, .. } => task.result = Some(result),
                JobOutcome::Error(error) => task.error = Some(error),
            },
            _ => {}
        }
        task
    }

    /// What a follower tells again only when it changes.
    pub(super) fn state(&self) -> TaskState {
        let message = self.status_message.map(str::to_owned);
        (self.status, message, self.input_requests.keys().cloned().collect())
    }
}

/// A result is a result here, also one that says that the tool failed.
fn modern_status(job: &Job) -> &'static str {
    match (job.status, &job.outcome) {
        (JobStatus::Queued | JobStatus::Running, _) => "working",
        (JobStatus::InputRequired, _) => "input_required",
        (JobStatus::Cancelled, _) => "cancelled",
        (JobStatus::Completed | JobStatus::Failed, Some(JobOutcome::Result { .. })) => "completed",
        (JobStatus::Completed | JobStatus::Failed, _) => "failed",
    }
}

// ------------------------------------------------------------------------------------ 2025-11-25

/// A task as 2025-11-25 shows it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::engine) struct LegacyTask<'a> {
    task_id: &'a JobId,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_message: Option<&'a str>,
    created_at: String,
    last_updated_at: String,
    ttl: u64,
    poll_interval: u64,
}

impl<'a> LegacyTask<'a> {
    pub(in crate::engine) fn new(job: &'a Job) -> Self {
        Self {
            task_id: &job.id,
            status: legacy_status(job),
            status_message: message(job),
            created_at: time(job.created_at),
            last_updated_at: time(job.updated_at),
            ttl: milliseconds(job.ttl),
            poll_interval: POLL_INTERVAL,
        }
    }
}

/// A result that says that the tool failed is a failure here.
fn legacy_status(job: &Job) -> &'static str {
    match job.status {
        JobStatus::Queued | JobStatus::Running => "working",
        JobStatus::InputRequired => "input_required",
        JobStatus::Cancelled => "cancelled",
        JobStatus::Completed | JobStatus::Failed if job.has_failed() => "failed",
        JobStatus::Completed | JobStatus::Failed => "completed",
    }
}

/// The handle that answers a call.
#[derive(Serialize)]
pub(in crate::engine) struct Created<'a> {
    pub(in crate::engine) task: LegacyTask<'a>,
}

/// What 2025-11-25 sessions are told in `initialize`.
pub(in crate::engine) fn legacy_capability() -> Value {
    json!({ "list": {}, "cancel": {}, "requests": { "tools": { "call": {} } } })
}
