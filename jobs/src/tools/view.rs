//! The view of a job for models, and the errors that the tools for jobs share.

use chrono::{DateTime, Utc};
use mcp::{
    JobAccessError, ToolError,
    job::{Job, JobId, JobOutcome, JobStatus},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The arguments of a tool for one job.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct JobInput {
    /// The id of the job, as `jobs_list` gives it.
    #[schemars(length(max = 64))]
    pub(super) id: String,
}

/// Returns the result of a completed job, and why a failed job has failed.
pub(super) fn outcome(job: &Job) -> (Option<Map<String, Value>>, Option<String>) {
    match job.outcome.as_ref().map(JobOutcome::output) {
        None => (None, None),
        Some(Ok(result)) => (Some(result), None),
        Some(Err(error)) => (None, Some(error)),
    }
}

/// A job, for a model.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct JobView {
    /// The id, to name the job in other calls.
    id: String,
    /// The tool that it runs.
    tool: String,
    /// `queued`, `running`, `input_required`, `completed`, `failed` or `cancelled`. The last three
    /// are final.
    status: &'static str,
    /// Its progress.
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<ProgressView>,
    /// When it was started.
    created_at: DateTime<Utc>,
    /// When it last changed.
    updated_at: DateTime<Utc>,
    /// What to do next.
    next: &'static str,
}

/// The progress of a job.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(inline)]
struct ProgressView {
    /// The amount that is done.
    done: f64,
    /// The total amount.
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<f64>,
    /// A description.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

impl From<&Job> for JobView {
    fn from(job: &Job) -> Self {
        let completed = job.status == JobStatus::Completed && !job.has_failed();
        let progress = job.progress.clone().map(|progress| ProgressView {
            // A tool need not report its last step.
            done: progress.total.filter(|_| completed).unwrap_or(progress.done),
            total: progress.total,
            message: progress.message,
        });
        let (status, next) = match job.status {
            JobStatus::Queued => ("queued", "It will start soon. Check it again with jobs_get."),
            JobStatus::Running => (
                "running",
                "Check it again with jobs_get in a few seconds, or tell the user that it is \
                 running. Do not start it again.",
            ),
            JobStatus::InputRequired => (
                "input_required",
                "It waits for the user, who was asked by the client that started it. Ask them to \
                 answer there, or cancel it with jobs_cancel.",
            ),
            JobStatus::Completed | JobStatus::Failed if job.has_failed() => {
                ("failed", "jobs_get says why. Start it again once the cause is resolved.")
            }
            JobStatus::Completed | JobStatus::Failed => ("completed", "Its result is in jobs_get."),
            JobStatus::Cancelled => (
                "cancelled",
                "It has no result. Changes that it made before it was cancelled are kept.",
            ),
        };
        Self {
            id: job.id.to_string(),
            tool: job.tool.clone(),
            status,
            progress,
            created_at: time(job.created_at),
            updated_at: time(job.updated_at),
            next,
        }
    }
}

/// Parses the id of a job.
pub(super) fn id(text: &str) -> Result<JobId, ToolError> {
    JobId::parse(text.trim()).ok_or_else(not_found)
}

/// The error for a job that does not exist or belongs to another user.
pub(super) fn not_found() -> ToolError {
    ToolError::NotFound(
        "There is no such job, or it has expired. Get the id from jobs_list.".into(),
    )
}

/// The error for a job that the caller may not see or change.
pub(super) fn refused(error: JobAccessError) -> ToolError {
    error.into_tool_error(|error| unavailable(&error))
}

/// The error for jobs that cannot be read.
pub(super) fn unavailable(error: &mcp::StoreError) -> ToolError {
    tracing::error!(
        dependency = error.dependency(), error = ?error,
        "Could not read jobs for a tool"
    );
    ToolError::Unavailable(
        "Jobs are unavailable at the moment. They continue to run: try again in a few seconds."
            .into(),
    )
}

fn time(millis: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(millis).unwrap_or_default()
}
