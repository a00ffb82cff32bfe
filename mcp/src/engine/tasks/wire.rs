//! The wire formats of jobs as tasks: the extension `io.modelcontextprotocol/tasks` of 2026-07-28,
//! and the experimental tasks of 2025-11-25. Their field names differ, so they share only the job.

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

/// The extension that a modern client declares if it supports tasks.
pub(in crate::engine) const EXTENSION: &str = "io.modelcontextprotocol/tasks";

/// The suggested polling interval, in milliseconds.
const POLL_INTERVAL: u64 = 500;

/// Whether the client declares the tasks extension.
pub(in crate::engine) fn declared(capabilities: &ClientCapabilities) -> bool {
    capabilities.extensions.contains_key(EXTENSION)
}

/// The error of a request that requires the tasks extension.
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

/// The progress message of a job.
fn message(job: &Job) -> Option<&str> {
    job.progress.as_ref()?.message.as_deref()
}

// ------------------------------------------------------------------------------------ 2026-07-28

/// A task in the format of 2026-07-28.
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

/// The part of a task whose change is notified: status, message and keys of the open questions.
pub(super) type TaskState = (&'static str, Option<String>, Vec<String>);

impl<'a> ModernTask<'a> {
    /// A task handle, without result and questions.
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

    /// A task with its result, error and open questions.
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

    /// The part whose change is notified.
    pub(super) fn state(&self) -> TaskState {
        let message = self.status_message.map(str::to_owned);
        (self.status, message, self.input_requests.keys().cloned().collect())
    }
}

/// A result with `isError` is `completed` in this revision.
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

/// A task in the format of 2025-11-25.
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

/// A result with `isError` is `failed` in this revision.
fn legacy_status(job: &Job) -> &'static str {
    match job.status {
        JobStatus::Queued | JobStatus::Running => "working",
        JobStatus::InputRequired => "input_required",
        JobStatus::Cancelled => "cancelled",
        JobStatus::Completed | JobStatus::Failed if job.has_failed() => "failed",
        JobStatus::Completed | JobStatus::Failed => "completed",
    }
}

/// The result of a call that asked for a task.
#[derive(Serialize)]
pub(in crate::engine) struct Created<'a> {
    pub(in crate::engine) task: LegacyTask<'a>,
}

/// The `tasks` capability in the result of `initialize` (2025-11-25).
pub(in crate::engine) fn legacy_capability() -> Value {
    json!({ "list": {}, "cancel": {}, "requests": { "tools": { "call": {} } } })
}
