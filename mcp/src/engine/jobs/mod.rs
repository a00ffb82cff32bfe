//! Calls that are jobs: made by the instance that receives the call, run by a worker, told to the
//! client wherever it is.
//!
//! | what the client can do | what it gets | where |
//! |---|---|---|
//! | tasks, of either era | a handle at once, and then what it asks for | [`tasks`] |
//! | sessions | the answer on the call's stream, which the worker writes to itself | [`legacy`] |
//! | neither | the answer on the call's response, which waits for the job | [`wait`] |
//!
//! What may have to be told twice, because somebody died in between, is heard once: a request is
//! answered once, and marked messages come once and in order.

mod attempt;
pub(super) mod legacy;
mod start;
pub(super) mod tasks;
pub(super) mod wait;

use std::{sync::Arc, time::Duration};

pub(super) use self::{
    attempt::run,
    start::{JobTool, NotStarted},
};
use super::{
    Inner,
    exchange::{WRITE_PATIENCE, patiently},
};
use crate::{
    caller::UserId,
    caller_jobs::JobAccess,
    job::{Job, JobId, JobOutcome, JobStatus, Jobs, Origin},
    question::Question,
    rpc::{self, RpcError},
    store::{Mark, StoreError, Writer},
    types::CallToolResult,
    version::ProtocolVersion,
};

/// How long a request that a job answers is left alone without a sign of life of the job. Long,
/// because a job may wait in a queue; whoever follows the stream looks after the job much sooner.
pub(super) const JOB_LEASE: Duration = Duration::from_hours(1);

/// How long a job may take to be kept, once its stream is there: more than the database is given for a
/// connection and a statement, after it was offered for as long as that is done. If it is not there
/// then, its instance has died before, and the client is told so.
pub(super) const START_LEASE: Duration = Duration::from_secs(25);

/// How often somebody who waits for a job looks at it, in case a signal was lost.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

impl Inner {
    /// Where jobs are kept, if calls become jobs here.
    pub(super) fn jobs(&self) -> Option<&Arc<dyn Jobs>> {
        self.settings.jobs.as_ref().map(|it| &it.store)
    }

    /// What a call needs to look at the jobs of its caller.
    pub(super) fn job_access(&self) -> Option<JobAccess> {
        let (jobs, catalog) = (Arc::clone(self.jobs()?), Arc::clone(&self.catalog));
        Some(JobAccess { jobs, catalog })
    }
}

/// The mark of progress of a call: a worker that has lost its job may still write.
fn progress_mark(done: f64) -> Mark {
    Mark { name: "progress".to_owned(), value: done }
}

/// Tells a client of an end or of questions, if its call is a stream. Others hear of it by the signal
/// that [`Jobs`] sends with every change.
pub(super) async fn announce(engine: &Inner, job: &Job) -> Result<(), StoreError> {
    if let Origin::Stream { writer } = &job.origin {
        if job.status.is_final() {
            let answer = rpc::into_text(legacy::answer(&writer.request, job, None));
            engine.stores.log.finish(writer, Some(&answer)).await?;
        } else {
            ask(engine, writer, job, None).await?;
        }
    }
    Ok(())
}

/// Cancels a job whose client wants no answer, and so will not ask again whether that was done.
pub(super) async fn cancel(engine: &Inner, user: &UserId, id: &JobId) {
    let Some(jobs) = engine.jobs() else {
        return;
    };
    let cancelled = match patiently(WRITE_PATIENCE, || jobs.cancel(user, id)).await {
        Ok(Some(job)) => announce(engine, &job).await,
        Ok(None) => Ok(()),
        Err(error) => Err(error),
    };
    if let Err(error) = cancelled {
        tracing::warn!(error = %error, job = %id, "A job could not be cancelled: {error}");
    }
}

/// What there is to say of a job that has ended.
pub(super) fn outcome(job: &Job) -> JobOutcome {
    match (&job.outcome, job.status) {
        (Some(outcome), _) => outcome.clone(),
        (None, JobStatus::Cancelled) => {
            JobOutcome::failed("This was cancelled before it had ended.")
        }
        (None, _) => JobOutcome::Error(RpcError::internal()),
    }
}

/// Puts the open questions of a job on a legacy stream, each once. `related`: the task that they
/// belong to, if the client knows one.
async fn ask(
    engine: &Inner,
    writer: &Writer,
    job: &Job,
    related: Option<&JobId>,
) -> Result<(), StoreError> {
    for (name, question) in &job.questions {
        let id = question_id(&job.id, name);
        let message = encode_question(job.version, &id, question, related);
        let once = Mark::once(format!("asked:{name}"));
        engine.stores.log.write_for_job(writer, Some(&once), &message).await?;
    }
    Ok(())
}

/// A question as a request to a legacy client.
fn encode_question(
    version: ProtocolVersion,
    id: &str,
    question: &Question,
    related: Option<&JobId>,
) -> String {
    let mut params = question.params(version, Some(id));
    if let Some(task) = related {
        let params = params.get_or_insert_with(|| serde_json::json!({}));
        params["_meta"] = serde_json::json!({ tasks::RELATED: { "taskId": task } });
    }
    rpc::encode_request(id, question.method(), params.as_ref())
}

/// The id of our request to the client: says where the answer belongs, wherever it arrives. It need
/// not be kept, and asking twice is asking once. Not to be guessed, since no job id is.
fn question_id(job: &JobId, key: &str) -> String {
    format!("{job}.{key}")
}

/// The job and the tool's own key that a question was asked for.
fn parse_question_id(id: &str) -> Option<(JobId, &str)> {
    let (job, key) = id.split_once('.')?;
    Some((JobId::parse(job)?, key))
}

/// What the client is told when it must not wait any longer, but the job goes on.
pub(super) fn goes_on(engine: &Inner, id: &JobId, why: &str) -> CallToolResult {
    let how = match result_tool(engine) {
        Some(tool) => format!("`{tool}` with that id gives its result later"),
        None => "it ends by itself".to_owned(),
    };
    CallToolResult::error(format!("{why} The work goes on as job {id}: {how}."))
}

/// What the client is told first.
fn started(engine: &Inner, id: &JobId) -> String {
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
