//! `jobs_get`: one job, with its result once there is one.

use mcp::{
    Call, Tool, ToolAnnotations, ToolError,
    job::{Job, JobOutcome},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::jobs::{JobView, away, id, not_found};
use crate::{Service, jobs, oauth::scope};

pub(super) struct GetJob;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// The id of the job, as `jobs_list` gives it.
    #[schemars(length(max = 64))]
    id: String,
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

impl Tool<Service> for GetJob {
    const NAME: &'static str = "jobs_get";
    const TITLE: &'static str = "Look at a job";
    const DESCRIPTION: &'static str = "Returns one of the user's jobs: how far it is, and its result \
        once it has ended. `next` says what to do.";
    const SCOPE: &'static str = scope::NOTES_READ;
    const ANNOTATIONS: ToolAnnotations = ToolAnnotations::READ_ONLY;
    type Input = Input;
    type Output = Output;

    async fn call(
        &self,
        call: &Call,
        service: &Service,
        input: Input,
    ) -> Result<Output, ToolError> {
        let job = jobs::store(service).get(call.user(), &id(&input.id)?).await.map_err(away)?;
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
