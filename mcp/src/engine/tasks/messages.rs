//! Texts about jobs for clients.

use crate::{
    engine::Inner,
    job::{Job, JobId, JobOutcome, JobStatus},
    rpc::RpcError,
    types::CallToolResult,
};

/// The outcome of a job that has ended.
pub(in crate::engine) fn outcome(job: &Job) -> JobOutcome {
    match (&job.outcome, job.status) {
        (Some(outcome), _) => outcome.clone(),
        (None, JobStatus::Cancelled) => {
            JobOutcome::failed("This was cancelled before it had finished.")
        }
        (None, _) => JobOutcome::Error(RpcError::internal()),
    }
}

/// The result for a client that cannot wait any longer while the job continues.
pub(in crate::engine) fn detached(engine: &Inner, id: &JobId, why: &str) -> CallToolResult {
    let how = match result_tool(engine) {
        Some(tool) => format!("`{tool}` with that id returns its result later"),
        None => "it ends without further action".to_owned(),
    };
    CallToolResult::error(format!("{why} The work continues as job {id}: {how}."))
}

/// The text of the first message of a call that became a job.
pub(super) fn started(engine: &Inner, id: &JobId) -> String {
    match result_tool(engine) {
        Some(tool) => format!(
            "This runs as job {id}. If you cannot wait, `{tool}` with that id returns the result \
             later."
        ),
        None => format!("This runs as job {id}."),
    }
}

/// The text for a client whose job runs again because its worker was lost.
pub(super) fn restarted(attempt: u32) -> String {
    format!("The worker stopped; the job was started again (attempt {attempt}).")
}

fn result_tool(engine: &Inner) -> Option<&'static str> {
    engine.settings.jobs.as_ref().and_then(|it| it.result_tool)
}
