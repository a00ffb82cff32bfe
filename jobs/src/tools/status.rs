//! `jobs_status`: the job of a call, for views, which know the call but not the id of its job.

use mcp::{Call, Tool, ToolAnnotations, ToolError, job::Job};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::view::{JobView, id, not_found, outcome, refused};

pub(super) struct JobStatusForViews;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// The id of the job. Without it, `tool` and `arguments` are required.
    #[schemars(length(max = 64))]
    id: Option<String>,
    /// The tool that was called.
    #[schemars(length(max = 64))]
    tool: Option<String>,
    /// The arguments of the call.
    #[serde(default)]
    arguments: Map<String, Value>,
}

#[derive(Default, Serialize, JsonSchema)]
pub(super) struct Output {
    /// The job. Absent if no unfinished job belongs to the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    job: Option<JobView>,
    /// The result of the tool, once the job has completed: the same as the call itself would return.
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Map<String, Value>>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl<S: Send + Sync + 'static> Tool<S> for JobStatusForViews {
    const NAME: &'static str = "jobs_status";
    const TITLE: &'static str = "Status of a call";
    const DESCRIPTION: &'static str = "Returns the unfinished job of a call with this tool and these \
        arguments, or the job with this id, finished or not. Views poll it to show progress.";
    const ANNOTATIONS: ToolAnnotations = ToolAnnotations::READ_ONLY;
    const VIEW_ONLY: bool = true;
    type Input = Input;
    type Output = Output;

    async fn call(&self, call: &Call, _state: &S, input: Input) -> Result<Output, ToolError> {
        let jobs = call.jobs().ok_or_else(not_found)?;
        match input {
            Input { id: Some(text), .. } => {
                let job = jobs.get(&id(&text)?).await.map_err(refused)?;
                Ok(Output::from(&job.ok_or_else(not_found)?))
            }
            Input { tool: Some(tool), arguments, .. } => {
                let found = jobs.find_unfinished(&tool, &Value::Object(arguments)).await;
                Ok(found.map_err(refused)?.as_ref().map(Output::from).unwrap_or_default())
            }
            Input { .. } => Err(ToolError::Input("Set `id`, or `tool` and `arguments`.".into())),
        }
    }
}

impl From<&Job> for Output {
    fn from(job: &Job) -> Self {
        let (result, error) = outcome(job);
        Self { job: Some(JobView::from(job)), result, error }
    }
}
