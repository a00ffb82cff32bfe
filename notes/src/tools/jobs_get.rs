//! `jobs_get`: one job, with its result once there is one; and how a model sees a job, for its
//! siblings.

use chrono::{DateTime, Utc};
use mcp::{
    Call, JobAccessError, Tool, ToolAnnotations, ToolError,
    job::{Job, JobId, JobOutcome, JobStatus},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{State, scopes};

pub(super) struct GetJob;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// The id of the job, as `jobs_list` gives it.
    #[schemars(length(max = 64))]
    pub(super) id: String,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Output {
    /// The job.
    job: JobView,
    /// What the tool gave, once the job has completed: the same as the call itself would have.
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Map<String, Value>>,
    /// What went wrong, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Tool<State> for GetJob {
    const NAME: &'static str = "jobs_get";
    const TITLE: &'static str = "Look at a job";
    const DESCRIPTION: &'static str = "Returns one of the user's jobs: how far it is, and its result \
        once it has ended. `next` says what to do.";
    const SCOPE: &'static str = scopes::READ;
    const ANNOTATIONS: ToolAnnotations = ToolAnnotations::READ_ONLY;
    type Input = Input;
    type Output = Output;

    async fn call(&self, call: &Call, _state: &State, input: Input) -> Result<Output, ToolError> {
        let jobs = call.jobs().ok_or_else(not_found)?;
        let job = jobs.get(&id(&input.id)?).await.map_err(refused)?;
        Ok(Output::from(&job.ok_or_else(not_found)?))
    }
}

impl From<&Job> for Output {
    fn from(job: &Job) -> Self {
        let (result, error) = match job.outcome.as_ref().map(JobOutcome::output) {
            None => (None, None),
            Some(Ok(result)) => (Some(result), None),
            Some(Err(error)) => (None, Some(error)),
        };
        Self { job: JobView::from(job), result, error }
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
        let completed = job.status == JobStatus::Completed && !job.has_failed();
        let progress = job.progress.clone().map(|it| ProgressView {
            // A tool need not report its last step.
            done: it.total.filter(|_| completed).unwrap_or(it.done),
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
            JobStatus::Completed | JobStatus::Failed if job.has_failed() => {
                ("failed", "jobs_get says why. Start it again once the cause is resolved.")
            }
            JobStatus::Completed | JobStatus::Failed => ("completed", "Its result is in jobs_get."),
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

/// A job that cannot be shown or changed.
pub(super) fn refused(error: JobAccessError) -> ToolError {
    error.into_tool_error(|error| away(&error))
}

/// The jobs cannot be read.
pub(super) fn away(error: &mcp::StoreError) -> ToolError {
    tracing::error!(
        dependency = error.dependency(), error = ?error,
        "The jobs are unavailable: {error}"
    );
    ToolError::Unavailable(
        "The jobs cannot be reached at the moment. They go on: try again in a few seconds.".into(),
    )
}

fn time(millis: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(millis).unwrap_or_default()
}
