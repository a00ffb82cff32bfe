//! `jobs_list`: the jobs of a user.

use mcp::{Call, Tool, ToolAnnotations, ToolError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::view::{JobView, not_found, unavailable};

/// The number of jobs on a page.
const PAGE: usize = 20;

pub(super) struct ListJobs;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// `next_cursor` of the previous page. Leave it out for the first page.
    #[schemars(length(max = 256))]
    cursor: Option<String>,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Output {
    /// The jobs, the newest first.
    jobs: Vec<JobView>,
    /// Where the next page begins; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

impl<S: Send + Sync + 'static> Tool<S> for ListJobs {
    const NAME: &'static str = "jobs_list";
    const TITLE: &'static str = "List jobs";
    const DESCRIPTION: &'static str = "Lists the user's jobs, newest first. A job is a tool call \
        that continues on the server when the client stops waiting. Use this tool after such a \
        call was interrupted, instead of calling the tool again. Get the result of a job with \
        jobs_get.";
    const ANNOTATIONS: ToolAnnotations = ToolAnnotations::READ_ONLY;
    type Input = Input;
    type Output = Output;

    async fn call(
        &self,
        call: &Call,
        _state: &S,
        Input { cursor }: Input,
    ) -> Result<Output, ToolError> {
        let jobs = call.jobs().ok_or_else(not_found)?;
        let page = jobs.list(cursor.as_deref(), PAGE).await;
        let page = page.map_err(|error| unavailable(&error))?.ok_or_else(|| {
            ToolError::Input(
                "The cursor is invalid. Use `next_cursor` of the previous page, or leave it out."
                    .into(),
            )
        })?;
        Ok(Output { jobs: page.jobs.iter().map(JobView::from).collect(), next_cursor: page.next })
    }
}
