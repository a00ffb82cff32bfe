//! What the tools that look after jobs have in common: how a model sees a job.

use chrono::{DateTime, Utc};
use mcp::{
    ToolError,
    job::{Job, JobId, JobStatus},
};
use schemars::JsonSchema;
use serde::Serialize;

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
    /// How far it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<ProgressView>,
    /// When it was started.
    created_at: DateTime<Utc>,
    /// When it last changed.
    updated_at: DateTime<Utc>,
    /// What to do next.
    next: &'static str,
}

/// How far a job is.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(inline)]
struct ProgressView {
    /// How much is done.
    done: f64,
    /// How much there is to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<f64>,
    /// In words.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

impl From<&Job> for JobView {
    fn from(job: &Job) -> Self {
        let progress = job.progress.clone().map(|it| ProgressView {
            done: it.done,
            total: it.total,
            message: it.message,
        });
        let (status, next) = match job.status {
            JobStatus::Queued => ("queued", "It will start soon. Look again with jobs_get."),
            JobStatus::Running => (
                "running",
                "Look again with jobs_get in some seconds, or tell the user that it is under way. \
                 Do not start it again.",
            ),
            JobStatus::InputRequired => (
                "input_required",
                "It waits for the user, who was asked by the client that started it. Ask them to \
                 answer there, or cancel it with jobs_cancel.",
            ),
            JobStatus::Completed => ("completed", "Its result is in jobs_get."),
            JobStatus::Failed => {
                ("failed", "jobs_get says why. Start it again once that is mended.")
            }
            JobStatus::Cancelled => {
                ("cancelled", "It has no result. What it did before it was cancelled stays.")
            }
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

/// Takes an id that a model sends.
pub(super) fn id(text: &str) -> Result<JobId, ToolError> {
    JobId::parse(text.trim()).ok_or_else(not_found)
}

/// What is not there, and what is somebody else's.
pub(super) fn not_found() -> ToolError {
    ToolError::NotFound(
        "There is no such job. It may have ended long ago. Take the id from jobs_list.".into(),
    )
}

/// The jobs cannot be read.
pub(super) fn away(mcp::StoreError(source): mcp::StoreError) -> ToolError {
    tracing::warn!(error = ?source, "The jobs are unavailable: {source}");
    ToolError::Failed(
        "The jobs cannot be reached at the moment. They go on: try again in a few seconds.".into(),
    )
}

fn time(millis: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(millis).unwrap_or_default()
}
