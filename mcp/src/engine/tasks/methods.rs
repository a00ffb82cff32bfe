//! The task methods of both eras.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{stream::notify_client, wire::LegacyTask};
use crate::{
    caller::Caller,
    caller_jobs::{CallerJobs, JobAccessError},
    engine::{Inner, request::read_params},
    job::{Job, JobId, JobStatus, Origin},
    params::Params,
    question::{ClientAnswer, check_response_size},
    rpc::RpcError,
    store::StoreError,
};

/// The page size of `tasks/list`.
const PAGE: usize = 50;

/// The maximum number of answers in one `tasks/update`.
const MAX_ANSWERS: usize = 64;

/// Why a task method failed.
pub(in crate::engine) enum TaskError {
    Rpc(RpcError),
    /// The token lacks the scope of the task's tool.
    Scope(&'static str),
    Unavailable(StoreError),
}

impl From<RpcError> for TaskError {
    fn from(error: RpcError) -> Self {
        Self::Rpc(error)
    }
}

impl From<JobAccessError> for TaskError {
    fn from(error: JobAccessError) -> Self {
        match error {
            JobAccessError::MissingScope(scope) => Self::Scope(scope),
            JobAccessError::Unavailable(error) => Self::Unavailable(error),
        }
    }
}

impl From<StoreError> for TaskError {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(error)
    }
}

fn unknown() -> TaskError {
    // Also for the task of another user.
    RpcError::invalid_params("there is no such task, or it has expired").into()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TaskParams {
    task_id: String,
}

/// Finds the job of the `taskId` of a request, if the caller may see it.
pub(in crate::engine) async fn find(
    engine: &Inner,
    caller: &Caller,
    method: &str,
    params: &Params<'_>,
) -> Result<Job, TaskError> {
    let TaskParams { task_id } = read_params(method, params)?;
    let access = engine.job_access.as_ref().ok_or_else(unknown)?;
    let id = JobId::parse(&task_id).ok_or_else(unknown)?;
    access.of(caller).get(&id).await?.ok_or_else(unknown)
}

/// A method of the tasks extension.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) enum TaskMethod {
    Get,
    Update,
    Cancel,
}

impl TaskMethod {
    pub(in crate::engine) fn parse(name: &str) -> Option<Self> {
        [Self::Get, Self::Update, Self::Cancel].into_iter().find(|method| method.name() == name)
    }

    pub(in crate::engine) fn name(self) -> &'static str {
        match self {
            Self::Get => "tasks/get",
            Self::Update => "tasks/update",
            Self::Cancel => "tasks/cancel",
        }
    }
}

/// Handles a method of the tasks extension. `Ok(None)`: the response is an empty acknowledgment.
pub(in crate::engine) async fn modern(
    engine: &Inner,
    caller: &Caller,
    method: TaskMethod,
    params: &Params<'_>,
) -> Result<Option<Job>, TaskError> {
    let job = find(engine, caller, method.name(), params).await?;
    let access = engine.job_access.as_ref().ok_or_else(unknown)?;
    let jobs = access.of(caller);
    match method {
        TaskMethod::Get => Ok(Some(job)),
        TaskMethod::Update => {
            update(&jobs, &job, params).await?;
            Ok(None)
        }
        TaskMethod::Cancel => {
            if let Some(job) = jobs.cancel(&job.id).await? {
                notify_client(engine, &job).await?;
            }
            Ok(None)
        }
    }
}

async fn update(jobs: &CallerJobs<'_>, job: &Job, params: &Params<'_>) -> Result<(), TaskError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct UpdateParams {
        input_responses: BTreeMap<String, Value>,
    }
    let UpdateParams { input_responses } = read_params(TaskMethod::Update.name(), params)?;
    if input_responses.len() > MAX_ANSWERS {
        let error = format!("`inputResponses` may have at most {MAX_ANSWERS} entries");
        return Err(RpcError::invalid_params(error).into());
    }
    let answers = check_answers(job, input_responses)?;
    if !answers.is_empty() {
        jobs.answer(&job.id, answers).await?;
    }
    Ok(())
}

/// Returns the answers to open questions; other answers are ignored. An answer without the format
/// that its question requires is rejected here, before the tool would fail on it.
pub(in crate::engine) fn check_answers(
    job: &Job,
    responses: BTreeMap<String, Value>,
) -> Result<BTreeMap<String, ClientAnswer>, RpcError> {
    let mut answers = BTreeMap::new();
    for (key, response) in responses {
        let Some(question) = job.questions.get(&key) else {
            continue;
        };
        check_response_size(&key, &response)?;
        let answer = ClientAnswer::Result(response);
        if let Err(problem) = question.check(&answer) {
            return Err(RpcError::invalid_params(format!(
                "`inputResponses.{key}` does not answer its question: {problem}"
            )));
        }
        answers.insert(key, answer);
    }
    Ok(answers)
}

/// Handles `tasks/list`: all jobs of the user that the token may see, including those that were not
/// called as tasks, but not child jobs.
pub(in crate::engine) async fn list(
    engine: &Inner,
    caller: &Caller,
    params: &Params<'_>,
) -> Result<Value, TaskError> {
    #[derive(Deserialize)]
    struct ListParams {
        cursor: Option<String>,
    }
    let ListParams { cursor } = read_params("tasks/list", params)?;
    let access = engine.job_access.as_ref().ok_or_else(unknown)?;
    let page = access.of(caller).list(cursor.as_deref(), PAGE).await?.ok_or_else(|| {
        RpcError::invalid_params("`cursor` is invalid; list again without a cursor")
    })?;
    let shown = page.jobs.iter().filter(|job| !matches!(job.origin, Origin::Parent { .. }));
    let tasks: Vec<_> = shown.map(LegacyTask::new).collect();
    let mut result = json!({ "tasks": tasks });
    if let Some(next) = page.next {
        result["nextCursor"] = next.into();
    }
    Ok(result)
}

/// Handles `tasks/cancel`: the task is cancelled before the response. An error if it has ended
/// already.
pub(in crate::engine) async fn cancel(
    engine: &Inner,
    caller: &Caller,
    job: &Job,
) -> Result<Job, TaskError> {
    let ended = || RpcError::invalid_params("the task has ended already");
    if job.status.is_final() {
        return Err(ended().into());
    }
    let access = engine.job_access.as_ref().ok_or_else(unknown)?;
    let job = access.of(caller).cancel(&job.id).await?.ok_or_else(unknown)?;
    if job.status != JobStatus::Cancelled {
        return Err(ended().into());
    }
    // The job is cancelled even if its stream cannot be updated now: a worker does it later.
    if let Err(error) = notify_client(engine, &job).await {
        tracing::warn!(
            dependency = error.dependency(), %error,
            "Could not append the end of a cancelled job; a worker appends it later"
        );
    }
    Ok(job)
}
