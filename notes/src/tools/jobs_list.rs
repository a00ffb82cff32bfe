//! `jobs_list`: what was started and may still be under way.

use mcp::{Call, Tool, ToolAnnotations, ToolError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::jobs_get::{JobView, away, not_found};
use crate::{State, scopes};

/// Jobs of one page.
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

impl Tool<State> for ListJobs {
    const NAME: &'static str = "jobs_list";
    const TITLE: &'static str = "List jobs";
    const DESCRIPTION: &'static str = "Lists the user's jobs, newest first: calls of notes_import, \
        notes_export and notes_digest, which go on when a client stops waiting. Use it after a call \
        of one of them was cut off, instead of calling it again. Results are in jobs_get.";
    const SCOPE: &'static str = scopes::READ;
    const ANNOTATIONS: ToolAnnotations = ToolAnnotations::READ_ONLY;
    type Input = Input;
    type Output = Output;

    async fn call(
        &self,
        call: &Call,
        _state: &State,
        Input { cursor }: Input,
    ) -> Result<Output, ToolError> {
        let jobs = call.jobs().ok_or_else(not_found)?;
        let page = jobs.list(cursor.as_deref(), PAGE).await;
        let page = page.map_err(|error| away(&error))?.ok_or_else(|| {
            ToolError::Input(
                "The cursor is not one that jobs_list gave: leave it out to begin anew.".into(),
            )
        })?;
        Ok(Output { jobs: page.jobs.iter().map(JobView::from).collect(), next_cursor: page.next })
    }
}
