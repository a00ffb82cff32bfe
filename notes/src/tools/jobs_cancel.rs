//! `jobs_cancel`: ends a job that has not ended.

use mcp::{Call, Tool, ToolAnnotations, ToolError};
use schemars::JsonSchema;
use serde::Serialize;

use super::jobs_get::{Input, JobView, id, not_found, refused};
use crate::{State, scopes};

pub(super) struct CancelJob;

#[derive(Serialize, JsonSchema)]
pub(super) struct Output {
    /// The job as it is now. One that had ended before is as it was.
    job: JobView,
}

impl Tool<State> for CancelJob {
    const NAME: &'static str = "jobs_cancel";
    const TITLE: &'static str = "Cancel a job";
    const DESCRIPTION: &'static str = "Cancels one of the user's jobs. What it has done so far \
        stays: notes that were imported are kept. One that has ended is left as it is.";
    // Each job needs the scope of its own tool, too: who may start it may end it.
    const SCOPE: &'static str = scopes::READ;
    const ANNOTATIONS: ToolAnnotations = ToolAnnotations::DESTRUCTIVE;
    type Input = Input;
    type Output = Output;

    async fn call(&self, call: &Call, _state: &State, input: Input) -> Result<Output, ToolError> {
        let jobs = call.jobs().ok_or_else(not_found)?;
        let job = jobs.cancel(&id(&input.id)?).await.map_err(refused)?;
        Ok(Output { job: JobView::from(&job.ok_or_else(not_found)?) })
    }
}
