//! What clients are told about a job.

use crate::{
    engine::Inner,
    job::{Job, JobId, JobOutcome, JobStatus},
    rpc::RpcError,
    types::CallToolResult,
};

/// What there is to say of a job that has ended.
pub(in crate::engine) fn outcome(job: &Job) -> JobOutcome {
    match (&job.outcome, job.status) {
        (Some(outcome), _) => outcome.clone(),
        (None, JobStatus::Cancelled) => {
            JobOutcome::failed("This was cancelled before it had ended.")
        }
        (None, _) => JobOutcome::Error(RpcError::internal()),
    }
}

/// What the client is told when it must not wait any longer, but the job goes on.
pub(in crate::engine) fn detached(engine: &Inner, id: &JobId, why: &str) -> CallToolResult {
    let how = match result_tool(engine) {
        Some(tool) => format!("`{tool}` with that id gives its result later"),
        None => "it ends by itself".to_owned(),
    };
    CallToolResult::error(format!("{why} The work goes on as job {id}: {how}."))
}

/// What the client is told first.
pub(super) fn started(engine: &Inner, id: &JobId) -> String {
    match result_tool(engine) {
        Some(tool) => format!(
            "This runs as job {id}. If you cannot wait, `{tool}` with that id gives the result later."
        ),
        None => format!("This runs as job {id}."),
    }
}

fn result_tool(engine: &Inner) -> Option<&'static str> {
    engine.settings.jobs.as_ref().and_then(|it| it.result_tool)
}
