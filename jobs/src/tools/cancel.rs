//! `jobs_cancel`: cancels a job that has not ended.

use mcp::{Call, Tool, ToolAnnotations, ToolError};
use schemars::JsonSchema;
use serde::Serialize;

use super::view::{JobInput, JobView, id, not_found, refused};

pub(super) struct CancelJob;

#[derive(Serialize, JsonSchema)]
pub(super) struct Output {
    /// The job after the call. Unchanged if it had already ended.
    job: JobView,
}

impl<S: Send + Sync + 'static> Tool<S> for CancelJob {
    const NAME: &'static str = "jobs_cancel";
    const TITLE: &'static str = "Cancel a job";
    const DESCRIPTION: &'static str = "Cancels one of the user's jobs. Changes that it has \
        already made are kept. A job that has ended is not changed.";
    const ANNOTATIONS: ToolAnnotations = ToolAnnotations::DESTRUCTIVE;
    type Input = JobInput;
    type Output = Output;

    async fn call(&self, call: &Call, _state: &S, input: JobInput) -> Result<Output, ToolError> {
        let jobs = call.jobs().ok_or_else(not_found)?;
        let job = jobs.cancel(&id(&input.id)?).await.map_err(refused)?;
        Ok(Output { job: JobView::from(&job.ok_or_else(not_found)?) })
    }
}
