//! `jobs_get`: one job, with its result once it has ended.

use mcp::{Call, Tool, ToolAnnotations, ToolError, job::Job};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use super::view::{JobInput, JobView, id, not_found, outcome, refused};

pub(super) struct GetJob;

#[derive(Serialize, JsonSchema)]
pub(super) struct Output {
    /// The job.
    job: JobView,
    /// The result of the tool, once the job has completed: the same as the call itself would return.
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Map<String, Value>>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl<S: Send + Sync + 'static> Tool<S> for GetJob {
    const NAME: &'static str = "jobs_get";
    const TITLE: &'static str = "Get a job";
    const DESCRIPTION: &'static str = "Returns one of the user's jobs: its status and progress, and \
        its result once it has ended. `next` says what to do.";
    const ANNOTATIONS: ToolAnnotations = ToolAnnotations::READ_ONLY;
    type Input = JobInput;
    type Output = Output;

    async fn call(&self, call: &Call, _state: &S, input: JobInput) -> Result<Output, ToolError> {
        let jobs = call.jobs().ok_or_else(not_found)?;
        let job = jobs.get(&id(&input.id)?).await.map_err(refused)?;
        Ok(Output::from(&job.ok_or_else(not_found)?))
    }
}

impl From<&Job> for Output {
    fn from(job: &Job) -> Self {
        let (result, error) = outcome(job);
        Self { job: JobView::from(job), result, error }
    }
}
